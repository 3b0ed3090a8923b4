//! Drills are looked at on a thread of its own, while the lines that follow are counted.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope as Threads;

use firedrill_journal::{Event, Kept};

use super::asked::is_open;
use crate::audit::{Record, Tables};
use crate::drill::{Looked, look};
use crate::heartbeat::mark_stale;
use crate::index::Index;
use crate::plans::Plans;
use crate::window::Scene;

/// A drill, and the lines that belong to it.
pub struct Job {
    pub episode: usize,
    /// Numbers, times and events.
    pub kept: Vec<(u64, u64, Event)>,
    pub recent: Vec<Kept>,
    /// When the latest line of all was written.
    pub now: u64,
}

/// What became of a drill; `None` if a line of it was shown and can't be read whole.
type Seen = (usize, Option<Looked>);

/// The drills that are looked at.
pub struct Looks {
    jobs: SyncSender<Job>,
    seen: Receiver<Seen>,
    under_way: usize,
}

impl Looks {
    /// The thread ends when nobody asks it any more. No drill waits for it: each would keep its lines meanwhile.
    pub fn begin<'t>(threads: &'t Threads<'t, '_>, plans: &'t Plans) -> Self {
        let (jobs, todo) = sync_channel::<Job>(0);
        let (done, seen) = sync_channel(plans.drills.len());
        threads.spawn(move || {
            for job in todo {
                let seen = (job.episode, look_at(plans, &job));
                if done.send(seen).is_err() {
                    return;
                }
            }
        });
        Looks {
            jobs,
            seen,
            under_way: 0,
        }
    }

    pub fn put(&mut self, job: Job) {
        self.under_way += 1;
        // If nobody takes it the thread has panicked, and whoever joins the threads does so as well.
        let _ = self.jobs.send(job);
    }

    /// What became of all that were put in; fewer if the thread died.
    pub fn all(&mut self) -> Vec<Seen> {
        let wanted = std::mem::take(&mut self.under_way);
        self.seen.iter().take(wanted).collect()
    }
}

fn look_at(plans: &Plans, job: &Job) -> Option<Looked> {
    let drill = plans.drills.get(job.episode)?;
    let recent = job.recent.iter();
    let recent = recent.map(|l| Some((l.seq, l.mono_ns, l.event()?)));
    let recent: Vec<_> = recent.collect::<Option<_>>()?;
    let lines = job.kept.iter().chain(&recent);
    let lines = lines.map(|(seq, at, event)| (*seq, *at, event));
    let tables = Tables::new(&[], None);
    let mut index = Index::of(plans.drills.len(), lines, false);
    index.end = job.now;
    mark_stale(&mut index, plans);
    let record = Record::build(&index, &tables);
    let scene = Scene::new(&index, &record, drill, job.episode);
    Some(look(&scene, plans.pace, is_open))
}
