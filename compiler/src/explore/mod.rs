//! A compiler explorer: every kernel of a model beside the operations it comes from, what passes said of it, its code, and its cost.
//!
//! In: a loaded model, which passes run, and a machine's limits. Out: [`View`], and a page that shows it and needs no network. The
//! same page is a file ([`page`]) or is served (`live`), where passes can be switched off: then it asks for another view.

mod document;
mod live;
mod measure;
mod view;

pub use document::{About, page};
pub use live::Explorer;
pub use measure::{MeasureError, Times, measure};
pub use view::{View, ViewError, view};
