// SPDX-License-Identifier: MPL-2.0
//! The cell: the bin's only child, which holds the content. Its own state never changes, so that
//! `GstBin` neither waits for the content's state lock nor asks for its state; and what the content
//! posts comes by here.

use std::sync::{Arc, Weak};

use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::OnceCell;

use super::notices::Fault;
use super::shared::Shared;

glib::wrapper! {
    pub struct Cell(ObjectSubclass<imp::Cell>)
        @extends gst::Bin, gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

impl Cell {
    pub(super) fn new() -> Self {
        let cell: Self = glib::Object::builder().property("name", "cell").build();
        // It counts as a sink whatever the content is at the moment, and never as a clock.
        cell.set_suppressed_flags(
            gst::ElementFlags::SINK
                | gst::ElementFlags::SOURCE
                | gst::ElementFlags::PROVIDE_CLOCK
                | gst::ElementFlags::REQUIRE_CLOCK,
        );
        cell.set_element_flags(gst::ElementFlags::SINK);
        cell.set_locked_state(true);
        cell
    }

    pub(super) fn attach(&self, shared: &Arc<Shared>) {
        // It is attached once.
        let _ = self.imp().shared.set(Arc::downgrade(shared));
    }
}

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct Cell {
        pub(super) shared: OnceCell<Weak<Shared>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Cell {
        const NAME: &'static str = "GstDroneBranchCell";
        type Type = super::Cell;
        type ParentType = gst::Bin;
    }

    impl ObjectImpl for Cell {}
    impl GstObjectImpl for Cell {}
    impl ElementImpl for Cell {}

    impl BinImpl for Cell {
        fn handle_message(&self, message: gst::Message) {
            let Some(shared) = self.shared.get().and_then(Weak::upgrade) else {
                return;
            };
            match message.view() {
                gst::MessageView::Error(error) => content_failed(&shared, error),
                gst::MessageView::Eos(_) => {
                    let mut state = shared.lock();
                    state.content_ended(message.seqnum());
                    shared.report(state);
                }
                // The gate tells of the start of the stream. In NULL, as the cell is, GstBin ignores
                // ASYNC_START and ASYNC_DONE by itself.
                gst::MessageView::StreamStart(_) => {}
                _ => shared.while_content_posts(|| self.parent_handle_message(message)),
            }
        }
    }

    /// It goes no further.
    fn content_failed(shared: &Shared, error: &gst::message::Error) {
        let Some(life) = shared.lock().course.current() else {
            return;
        };
        let fault = Fault {
            source: error.src().map(|src| src.path_string().into()),
            error: error.error(),
            debug: error.debug().map(Into::into).unwrap_or_default(),
            is_final: false,
        };
        shared.fail(life, fault);
    }
}
