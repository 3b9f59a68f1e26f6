//! Which tokens an expert has.

use crate::codegen::groups::Table;
use crate::codegen::kernel::Site;
use crate::codegen::route::own_groups;
use crate::codegen::writer::Writer;
use crate::graph::{Grouping, NodeId, Route, Routing};
use crate::schedule::scratch::RoutingScratch;

/// The groups: made by a kernel before, or by this thread.
pub(super) fn groups(
    e: &mut Writer,
    s: &Site,
    g: Grouping,
    routing: Routing<NodeId>,
    route: Option<(&Route, &RoutingScratch)>,
) -> Table {
    match (routing, route) {
        (Routing::Own(o), Some((r, scratch))) => own_groups(e, s, (r, o), g, scratch),
        (Routing::Own(_), None) => unreachable!("threads route where there is a route"),
        (Routing::Groups(groups), _) => {
            let base = s.rows(e, groups).base;
            Table::new(s, base, g)
        }
    }
}
