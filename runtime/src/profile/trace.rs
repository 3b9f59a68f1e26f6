//! A profile as Trace Event JSON, which Perfetto and `chrome://tracing` open.
//!
//! One row for each thread, one for whole steps; the rows of a rank together. Complete events (`"ph": "X"`), times in microseconds; the sums stand under
//! `otherData.graver`, where `graver report` reads them, and those of all ranks under `otherData.ranks`.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::lengths::{PREEMPTED_NS, PREEMPTED_TIMES};
use super::{Profile, Span};

impl Profile {
    /// Writes one trace of a session, or of all ranks that share a model, in their order: a group of rows for each.
    ///
    /// # Errors
    /// What the writer reports.
    pub fn write_traces(profiles: &[Profile], out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"{\"displayTimeUnit\": \"ns\", \"traceEvents\": [\n")?;
        let of_rank = |(rank, profile): (usize, &'_ Profile)| -> Vec<Value> {
            let group = json!({ "name": "process_name", "ph": "M", "pid": rank + 1, "tid": 0, "args": { "name": format!("rank {rank}") } });
            let group = Some(group).filter(|_| profiles.len() > 1);
            let spans = profile.spans.iter().map(|s| profile.event(rank, s));
            group
                .into_iter()
                .chain(profile.names(rank))
                .chain(spans)
                .collect()
        };
        let mut comma = "";
        for event in profiles.iter().enumerate().flat_map(of_rank) {
            out.write_all(comma.as_bytes())?;
            serde_json::to_writer(&mut *out, &event)?;
            comma = ",\n";
        }
        out.write_all(b"\n], \"otherData\": {\"graver\": ")?;
        serde_json::to_writer(&mut *out, &profiles.first())?;
        if profiles.len() > 1 {
            out.write_all(b", \"ranks\": ")?;
            serde_json::to_writer(&mut *out, profiles)?;
        }
        out.write_all(b"}}\n")
    }

    /// Writes the trace.
    ///
    /// # Errors
    /// What the writer reports.
    pub fn write_trace(&self, out: &mut dyn Write) -> io::Result<()> {
        Profile::write_traces(std::slice::from_ref(self), out)
    }

    fn names(&self, rank: usize) -> impl Iterator<Item = Value> + use<> {
        let row = move |tid: usize, name: String| json!({ "name": "thread_name", "ph": "M", "pid": rank + 1, "tid": tid, "args": { "name": name } });
        let threads = (0..self.threads).map(move |t| row(t + 1, format!("thread {t}")));
        std::iter::once(row(0, "steps".into())).chain(threads)
    }

    /// Whether a thread lost its processor in a kernel.
    fn is_preempted(&self, span: &Span) -> bool {
        let kernel = span.kernel.filter(|_| !span.wait);
        let Some(k) = kernel.map(|k| &self.programs[span.program].kernels[k]) else {
            return false;
        };
        let median = k.median_ns.get(span.thread).copied().unwrap_or(0);
        let took = span.end_ns.saturating_sub(span.begin_ns);
        took as f64 > PREEMPTED_TIMES * median as f64 + PREEMPTED_NS
    }

    fn event(&self, rank: usize, span: &Span) -> Value {
        let program = &self.programs[span.program];
        let us = |ns: u64| ns as f64 / 1e3;
        let (begin, length) = (
            us(span.begin_ns),
            us(span.end_ns.saturating_sub(span.begin_ns)),
        );
        let (name, kind, row) = match span.kernel.map(|k| &program.kernels[k].kernel) {
            None => (program.program.clone(), "step", 0),
            Some(k) if span.wait => (format!("wait for {}", k.at), "wait", span.thread + 1),
            Some(k) => (k.at.clone(), k.group(), span.thread + 1),
        };
        let op = span.kernel.map(|k| program.kernels[k].kernel.op.as_str());
        let mut args = json!({ "program": program.program, "op": op });
        if self.is_preempted(span) {
            args["preempted"] = true.into();
        }
        json!({
            "name": name, "cat": kind, "ph": "X", "ts": begin, "dur": length, "pid": rank + 1, "tid": row, "args": args,
        })
    }
}
