//! A file that no source is left of is fetched with another content: with what its sources list
//! by now, if it changed; or with another size, if only its id is known.

use super::contents::Wanted;
use super::files::Newer;
use super::job::WishId;
use super::report::WishReport;
use super::settling::tell;
use super::{Gather, Others};
use crate::content::{Attributes, Content};
use crate::limits::SIZES_TRIED_MAX;
use crate::node::PathId;
use crate::node::peer::Context;

impl Gather {
    /// No source of a file is left. Returns whether it is fetched with another content.
    pub(super) fn replace(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        path: PathId,
    ) -> bool {
        if !others.contents.has_no_source(path) {
            return false;
        }
        let (Some(text), Some(active)) = (ctx.paths.get(path).cloned(), self.files.active_at(path))
        else {
            return false;
        };
        let Some(job) = self.wishes.get(&active.wish) else { return false };
        let is_by_id = job.wish.is_content();
        let newer = match is_by_id {
            true => self.next_size(&active.wish, active.content),
            // Under its last component another file may be listed.
            false if ctx.settings.gather.is_flat => None,
            false => self.files.take_newer(&text),
        };
        let Some(Newer { content, attributes, sources }) = newer else { return false };
        if !is_by_id {
            tell(ctx, WishReport::Changed { path: text.clone() });
        }
        others.contents.withdraw(ctx, path, true);
        self.files.replace(path, text, content, &sources);
        for id in &sources {
            if let Some(source) = self.sources.get_mut(id) {
                source.is_useful = true;
            }
        }
        others.contents.want(ctx, Wanted { path, content, attributes }, &sources);
        true
    }

    /// Returns the size that most sources tell of a content, of those that were not tried.
    fn next_size(&mut self, id: &WishId, before: Content) -> Option<Newer> {
        let job = self.wishes.get_mut(id)?;
        job.tried.insert(before.size_bytes);
        if job.tried.len() >= SIZES_TRIED_MAX {
            return None;
        }
        let untried = job.sizes.iter().filter(|(it, _)| !job.tried.contains(&it.size_bytes));
        let (content, sources) = untried.max_by_key(|(_, sources)| sources.len())?;
        let attributes = Attributes { modified_ns: 0, is_executable: false };
        Some(Newer { content: *content, attributes, sources: sources.clone() })
    }

    /// A source tells another size of a content than the one that is fetched: it is tried if no
    /// source is left of that.
    pub(super) fn replace_size(&mut self, ctx: &mut Context, others: &mut Others<'_>, id: WishId) {
        for path in self.files.active() {
            if self.files.active_at(path).is_some_and(|active| active.wish == id) {
                self.replace(ctx, others, path);
            }
        }
    }
}
