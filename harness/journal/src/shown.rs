//! A line as it is shown to whoever goes through a journal, and as it is kept for later.

use std::sync::Arc;

use crate::ahead::Batch;
use crate::line::{Parts, Sight, event};
use crate::view::View;
use crate::{Envelope, Event};

/// A line of the journal that is shown, and gone afterwards unless it is kept.
pub struct Line<'a> {
    pub seq: u64,
    pub mono_ns: u64,
    pub view: View<'a>,
    body: Body<'a>,
}

enum Body<'a> {
    Whole(&'a Envelope),
    Ahead(&'a Arc<Batch>, usize),
}

impl<'a> Line<'a> {
    pub fn of(envelope: &'a Envelope) -> Self {
        Line {
            seq: envelope.seq,
            mono_ns: envelope.mono_ns,
            view: View::of(&envelope.event),
            body: Body::Whole(envelope),
        }
    }

    pub(crate) fn ahead(batch: &'a Arc<Batch>, at: usize, sight: &'a Sight<'a>) -> Self {
        Line {
            seq: batch.seq(at),
            mono_ns: batch.mono_ns(at),
            view: sight.view(),
            body: Body::Ahead(batch, at),
        }
    }

    /// The line for later, with the lines around it: cheap to take, for a while.
    pub fn keep(&self) -> Kept {
        self.kept(match self.body {
            Body::Whole(envelope) => Held::Whole(Arc::new(envelope.clone())),
            Body::Ahead(batch, at) => Held::Ahead(Arc::clone(batch), at),
        })
    }

    /// The line for later, and for as long as it takes: its text alone.
    pub fn copy(&self) -> Kept {
        self.kept(match self.body {
            Body::Whole(envelope) => Held::Whole(Arc::new(envelope.clone())),
            Body::Ahead(batch, at) => Held::Alone(batch.line(at).into()),
        })
    }

    fn kept(&self, body: Held) -> Kept {
        Kept {
            seq: self.seq,
            mono_ns: self.mono_ns,
            body,
        }
    }

    /// The whole line. `None` if it can't be read, though what is shown of it could.
    pub fn envelope(&self) -> Option<Envelope> {
        match self.body {
            Body::Whole(envelope) => Some(envelope.clone()),
            Body::Ahead(batch, at) => batch.envelope(at),
        }
    }
}

/// A line that is kept.
#[derive(Clone)]
pub struct Kept {
    pub seq: u64,
    pub mono_ns: u64,
    body: Held,
}

#[derive(Clone)]
enum Held {
    Whole(Arc<Envelope>),
    Ahead(Arc<Batch>, usize),
    Alone(Box<str>),
}

impl Kept {
    /// The whole line. `None` if it can't be read, though what was shown of it could.
    pub fn envelope(&self) -> Option<Envelope> {
        match &self.body {
            Held::Whole(envelope) => Some((**envelope).clone()),
            Held::Ahead(batch, at) => batch.envelope(*at),
            Held::Alone(line) => Parts::of(line)?.envelope(),
        }
    }

    /// What it tells.
    pub fn event(&self) -> Option<Event> {
        match &self.body {
            Held::Whole(envelope) => Some(envelope.event.clone()),
            Held::Ahead(batch, at) => batch.event(*at),
            Held::Alone(line) => {
                let parts = Parts::of(line)?;
                event(parts.kind, parts.event)
            }
        }
    }
}
