//! A line as it is shown to whoever goes through a journal, and as it is kept for later.

use std::sync::Arc;

use crate::ahead::Batch;
use crate::line::Sight;
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

    pub fn keep(&self) -> Kept {
        Kept {
            seq: self.seq,
            mono_ns: self.mono_ns,
            body: match self.body {
                Body::Whole(envelope) => Held::Whole(Box::new(envelope.clone())),
                Body::Ahead(batch, at) => Held::Ahead(Arc::clone(batch), at),
            },
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

/// A line that is kept. It may hold on to a megabyte of lines around it: nothing for long.
pub struct Kept {
    pub seq: u64,
    pub mono_ns: u64,
    body: Held,
}

enum Held {
    Whole(Box<Envelope>),
    Ahead(Arc<Batch>, usize),
}

impl Kept {
    /// The whole line. `None` if it can't be read, though what was shown of it could.
    pub fn envelope(&self) -> Option<Envelope> {
        match &self.body {
            Held::Whole(envelope) => Some((**envelope).clone()),
            Held::Ahead(batch, at) => batch.envelope(*at),
        }
    }

    /// What it tells.
    pub fn event(&self) -> Option<Event> {
        match &self.body {
            Held::Whole(envelope) => Some(envelope.event.clone()),
            Held::Ahead(batch, at) => batch.event(*at),
        }
    }
}
