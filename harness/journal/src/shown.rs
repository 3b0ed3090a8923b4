//! A line as it is shown to whoever goes through a journal, and as it is kept for later.

use std::sync::Arc;

use crate::ahead::Batch;
use crate::line::{Sight, event};
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

    /// The line, and those around it with it: cheap to take, and dear to keep.
    fn hold(&self) -> Held {
        Held(match self.body {
            Body::Whole(envelope) => HeldBody::Whole(Box::new(envelope.clone())),
            Body::Ahead(batch, at) => HeldBody::Ahead(Arc::clone(batch), at),
        })
    }

    /// The same in the place of what is held there.
    pub fn hold_in(&self, place: &mut Option<Held>) {
        match (&self.body, place.as_mut()) {
            (Body::Ahead(batch, at), Some(Held(HeldBody::Ahead(held, of))))
                if Arc::ptr_eq(batch, held) =>
            {
                *of = *at;
            }
            _ => *place = Some(self.hold()),
        }
    }

    /// What it tells, in the bytes of its text.
    pub fn keep(&self) -> Kept {
        Kept {
            seq: self.seq,
            mono_ns: self.mono_ns,
            body: match self.body {
                Body::Whole(envelope) => KeptBody::Whole(Arc::new(envelope.event.clone())),
                Body::Ahead(batch, at) => {
                    let (kind, text) = batch.event_text(at);
                    KeptBody::Text(kind, text.into())
                }
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

/// A line that is held.
pub struct Held(HeldBody);

enum HeldBody {
    Whole(Box<Envelope>),
    Ahead(Arc<Batch>, usize),
}

impl Held {
    /// The whole line. `None` if it can't be read, though what was shown of it could.
    pub fn envelope(&self) -> Option<Envelope> {
        match &self.0 {
            HeldBody::Whole(envelope) => Some((**envelope).clone()),
            HeldBody::Ahead(batch, at) => batch.envelope(*at),
        }
    }
}

/// What a line tells, kept.
#[derive(Clone)]
pub struct Kept {
    pub seq: u64,
    pub mono_ns: u64,
    body: KeptBody,
}

#[derive(Clone)]
enum KeptBody {
    Whole(Arc<Event>),
    Text(&'static str, Arc<str>),
}

impl Kept {
    /// `None` if it can't be read, though what was shown of it could.
    pub fn event(&self) -> Option<Event> {
        match &self.body {
            KeptBody::Whole(event) => Some((**event).clone()),
            KeptBody::Text(kind, text) => event(kind, text),
        }
    }
}
