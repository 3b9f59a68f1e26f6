//! The terminal that is written to.

/// Columns of standard output, where that is a terminal that says so.
pub(crate) fn columns() -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the call writes the size to `size`, or nothing, whatever descriptor 1 is.
    let failed = unsafe { libc::ioctl(1, libc::TIOCGWINSZ, &raw mut size) } != 0;
    (!failed && size.ws_col > 0).then_some(size.ws_col.into())
}
