//! Something stands under the final name of a file that was fetched: is it equal?
//!
//! What came is verified, so that its digest is known; what stands there is hashed.

use super::job::State;
use super::{Fetch, JobId, Wake};
use crate::content::{Digest, FileError, HashKind, Version};
use crate::node::peer::{Context, Wake as PeerWake};
use crate::node::{Action, FetchError, PathId, Report};

impl Fetch {
    /// Hashes what stands under the final name of this job.
    pub(super) fn compare(&self, ctx: &mut Context, id: JobId) {
        if let Some(job) = self.jobs.get(&id) {
            ctx.act(Action::Hash { path: job.path, kind: HashKind::Sha256 });
        }
    }

    pub(crate) fn comparing(&self, path: PathId) -> Option<JobId> {
        let id = *self.by_path.get(&path)?;
        matches!(self.state(id), Some(State::Comparing { .. })).then_some(id)
    }

    pub(crate) fn on_compared(&mut self, ctx: &mut Context, id: JobId, there: Digest) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (path, State::Comparing { digest, .. }) = (job.path, job.state) else { return };
        if digest != there {
            return self.fail(ctx, id, FetchError::Different);
        }
        ctx.report(Report::Identical { path });
        self.enter(id, State::Done);
        self.end_if_done(ctx);
    }

    /// A part of what stands there is hashed. If its size is another, that is enough.
    pub(crate) fn on_comparing(&mut self, ctx: &mut Context, id: JobId, version: Version) {
        if let Some(State::Comparing { size_bytes, .. }) = self.state(id)
            && version.size_bytes != size_bytes
        {
            self.fail(ctx, id, FetchError::Different);
        }
    }

    /// What stands there could not be hashed. If it changed just now it may settle.
    pub(crate) fn on_compare_failed(&mut self, ctx: &mut Context, id: JobId, error: FileError) {
        let retries_max = ctx.guest().map_or(0, |guest| guest.retries_max);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if error != FileError::Changed || job.compares.failed >= retries_max {
            return self.fail(ctx, id, FetchError::Different);
        }
        let retry_in = job.compares.fail(&mut ctx.rng);
        ctx.deadlines.arm(PeerWake::Fetch(Wake::Compare(id)), ctx.now + retry_in);
    }
}
