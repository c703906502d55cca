//! Contents that are fetched, each from all sources that hold some of it.

mod plan;
