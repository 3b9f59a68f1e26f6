//! An operation's options as text: `norm(rms eps=1e-5 group=64)`, `residual`, `scale=0.125`.
//!
//! A small tree of words serves printing and parsing alike; which words an operation has stands once in each direction.

mod experts;
mod recurrent;

use super::heads::{HeadColumns, HeadConcat, HeadMatmul};
use super::latent::LatentAttention;
use super::op::*;

/// A word, with a value or with words inside it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Attr {
    pub(super) key: String,
    pub(super) value: Option<String>,
    pub(super) inner: Vec<Attr>,
}

fn flag(key: &str) -> Attr {
    Attr {
        key: key.into(),
        value: None,
        inner: vec![],
    }
}

fn set(key: &str, value: impl ToString) -> Attr {
    Attr {
        key: key.into(),
        value: Some(value.to_string()),
        inner: vec![],
    }
}

fn float(key: &str, value: f32) -> Attr {
    set(key, format!("{value:?}"))
}

fn tree(key: &str, inner: Vec<Attr>) -> Attr {
    Attr {
        key: key.into(),
        value: None,
        inner,
    }
}

impl std::fmt::Display for Attr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.key)?;
        if let Some(v) = &self.value {
            write!(f, "={v}")?;
        }
        if !self.inner.is_empty() {
            let words: Vec<_> = self.inner.iter().map(Attr::to_string).collect();
            write!(f, "({})", words.join(" "))?;
        }
        Ok(())
    }
}

/// The options of an operation.
pub(super) fn of(op: &Op) -> Vec<Attr> {
    match op {
        Op::Input(_)
        | Op::Weight(_)
        | Op::GatherRows
        | Op::Copy
        | Op::Binary(_)
        | Op::Unary(Unary::Act(_))
        | Op::ScaleRows => vec![],
        Op::Embed { scale, limit } => {
            let mut out = Vec::from_iter((*scale != 1.0).then(|| float("scale", *scale)));
            out.extend(limit.map(|n| set("limit", n)));
            out
        }
        Op::PositionRows { offset } => vec![set("offset", offset)],
        Op::RopeAngles { rope, rotary_dim } => vec![set("rope", rope), set("dim", rotary_dim)],
        Op::Norm(n) => norm(n),
        Op::Matmul(m) => matmul(m),
        Op::Quantize { norm } => norm.iter().map(inner_norm).collect(),
        Op::Unary(Unary::Scale(c) | Unary::Softcap(c)) => vec![float("by", *c)],
        Op::Rope(r) => rope(r),
        Op::PositionScale(p) => position_scale(p),
        Op::WeightedSum(w) => vec![set("start", w.start)],
        Op::MatchRms { least } => vec![float("least", *least)],
        Op::Cutoff { by } => vec![float("by", *by)],
        Op::CacheRead { state } | Op::CacheWrite { state } => vec![set("state", state)],
        Op::Finish { parts } => parts.iter().map(|p| tree("part", finish(p))).collect(),
        Op::Scores(a) | Op::Softmax(a) | Op::Mix(a) | Op::Attention(a) => attention(a),
        Op::Slice { start, len } => vec![set("start", start), set("len", len)],
        Op::HeadSlice(c) => head_columns(c),
        Op::HeadMatmul(m) => head_matmul(m),
        Op::LatentAttention(l) => vec![
            tree("attention", attention(&l.attention)),
            tree("queries", head_matmul(&l.queries)),
            tree("results", head_matmul(&l.results)),
        ],
        Op::HeadConcat(c) => vec![
            set("heads", c.heads),
            set("left", c.left),
            set("right", c.right),
        ],
        Op::Route(r) => experts::route(r),
        Op::GroupByExpert(g) => experts::grouping(g),
        Op::GatherTokens { grouping, weighted } | Op::Combine { grouping, weighted } => {
            experts::weighted(grouping, *weighted)
        }
        Op::GroupedMatmul(m) => experts::grouped_matmul(m),
        Op::Activate(a) => experts::activate(a),
        Op::ShortConv(c) => recurrent::short_conv(c),
        Op::Decay { heads } => vec![set("heads", heads)],
        Op::DeltaRule(d) => recurrent::delta_rule(d),
        Op::ExpertsIn(e) => experts::experts_in(e),
        Op::ExpertsOut(e) => experts::experts_out(e),
    }
}

fn head_matmul(m: &HeadMatmul) -> Vec<Attr> {
    let mut out = vec![
        tree("columns", head_columns(&m.columns)),
        tree("rows", head_columns(&m.rows)),
    ];
    out.extend(m.over_columns.then(|| flag("over_columns")));
    out.extend((m.keep > 0).then(|| set("keep", m.keep)));
    out
}

fn head_columns(c: &HeadColumns) -> Vec<Attr> {
    vec![
        set("heads", c.heads),
        set("width", c.width),
        set("start", c.start),
        set("len", c.len),
    ]
}

fn norm(n: &Norm) -> Vec<Attr> {
    let mut out = vec![float("eps", n.eps), set("group", n.group)];
    out.extend(n.unit_offset.then(|| flag("unit_offset")));
    out
}

/// A norm inside another operation says its kind and which operands it has.
fn inner_norm(n: &Norm) -> Attr {
    let kind = match n.kind {
        NormKind::Rms => "rms",
        NormKind::Layer => "layer",
        NormKind::L2 => "l2",
    };
    let mut out = vec![flag(kind)];
    out.extend(n.gain.then(|| flag("gain")));
    out.extend(n.bias.then(|| flag("bias")));
    out.extend(norm(n));
    tree("norm", out)
}

fn rope(r: &Rope) -> Vec<Attr> {
    let mut out = vec![set("head_dim", r.head_dim), set("dim", r.rotary_dim)];
    out.extend((r.start != 0).then(|| set("start", r.start)));
    out.extend(r.interleaved.then(|| flag("interleaved")));
    out
}

fn finish(f: &Finish) -> Vec<Attr> {
    let mut out = vec![set("rows", f.rows)];
    out.extend(f.touches.iter().map(touch));
    match f.dest {
        Dest::Output => {}
        Dest::Keys(s) => out.push(set("keys", s)),
        Dest::Values(s) => out.push(set("values", s)),
        Dest::KeyColumns(s, start) => out.extend([set("keys", s), set("from", start)]),
    }
    out
}

fn touch(t: &Touch) -> Attr {
    match t {
        Touch::Norm(n) => inner_norm(n),
        Touch::Rope(r) => tree("rope", rope(r)),
        Touch::PositionScale(p) => tree("position_scale", position_scale(p)),
    }
}

fn position_scale(p: &PositionScale) -> Vec<Attr> {
    vec![
        float("scale", p.scale),
        float("every", p.every),
        set("offset", p.offset),
    ]
}

fn matmul(m: &Matmul) -> Vec<Attr> {
    let mut out: Vec<Attr> = m.norm.iter().map(inner_norm).collect();
    out.extend(m.quantize_x.then(|| flag("quantize_x")));
    for p in &m.parts {
        let mut words = finish(&p.finish);
        words.extend(p.bias.then(|| flag("bias")));
        out.push(tree("part", words));
    }
    if let Join::Gated(a) = m.join {
        out.push(set("gated", a.name()));
    }
    out.extend(m.act.map(|a| set("act", a.name())));
    out.extend(m.scale.map(|c| float("scale", c)));
    out.extend(m.residual.then(|| flag("residual")));
    out.extend(m.quantize_y.then(|| flag("quantize_y")));
    out
}

fn attention(a: &Attention) -> Vec<Attr> {
    let mut out = vec![
        set("heads", a.heads),
        set("kv_heads", a.kv_heads),
        set("head_dim", a.head_dim),
    ];
    out.extend((a.value_dim != a.head_dim).then(|| set("value_dim", a.value_dim)));
    out.push(float("scale", a.scale));
    out.extend(a.softcap.map(|c| float("softcap", c)));
    match a.reach {
        Reach::Full => {}
        Reach::Window(w) => out.push(set("window", w)),
        Reach::Chunk(c) => out.push(set("chunk", c)),
    }
    out.extend(a.sinks.then(|| flag("sinks")));
    out.push(set("state", a.state));
    out
}

/// Why words make no operation.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttrError {
    /// A word that has to be there is not.
    #[error("{op}: option {key} is missing")]
    Missing {
        /// Operation.
        op: String,
        /// The word.
        key: String,
    },
    /// A value that cannot be read.
    #[error("{op}: option {key}={found} is not {expected}")]
    Value {
        /// Operation.
        op: String,
        /// The word.
        key: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// No such operation.
    #[error("unknown operation {0}")]
    Unknown(String),
}

struct Words<'a> {
    op: &'a str,
    words: &'a [Attr],
}

impl<'a> Words<'a> {
    fn find(&self, key: &str) -> Option<&'a Attr> {
        self.words.iter().find(|a| a.key == key)
    }

    fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    fn inside(&self, attr: &'a Attr) -> Words<'a> {
        Words {
            op: self.op,
            words: &attr.inner,
        }
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.find(key).and_then(|a| a.value.as_deref())
    }

    fn bad(&self, key: &str, found: &str, expected: &'static str) -> AttrError {
        AttrError::Value {
            op: self.op.into(),
            key: key.into(),
            found: found.into(),
            expected,
        }
    }

    fn maybe<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, AttrError> {
        self.text(key)
            .map(|v| v.parse().map_err(|_| self.bad(key, v, "a number")))
            .transpose()
    }

    fn get<T: std::str::FromStr>(&self, key: &str) -> Result<T, AttrError> {
        self.maybe(key)?.ok_or_else(|| AttrError::Missing {
            op: self.op.into(),
            key: key.into(),
        })
    }

    fn state(&self, key: &str) -> Result<StateId, AttrError> {
        let v = self.text(key).ok_or_else(|| AttrError::Missing {
            op: self.op.into(),
            key: key.into(),
        })?;
        let number = v.strip_prefix('s').and_then(|n| n.parse().ok());
        number
            .map(StateId)
            .ok_or_else(|| self.bad(key, v, "a state such as s0"))
    }

    fn act(&self, key: &str) -> Result<Option<Activation>, AttrError> {
        let Some(v) = self.text(key) else {
            return Ok(None);
        };
        activation(v)
            .map(Some)
            .ok_or_else(|| self.bad(key, v, "an activation"))
    }

    fn norm(&self, kind: NormKind, gain: bool, bias: bool) -> Result<Norm, AttrError> {
        let (eps, group) = (self.get("eps")?, self.get("group")?);
        Ok(Norm {
            kind,
            eps,
            group,
            gain,
            bias,
            unit_offset: self.has("unit_offset"),
        })
    }

    fn inner_norm(&self) -> Result<Option<Norm>, AttrError> {
        self.find("norm")
            .map(|a| self.inside(a).norm_by_word())
            .transpose()
    }

    /// A norm inside another operation, whose words say its kind and operands.
    fn norm_by_word(&self) -> Result<Norm, AttrError> {
        let kind = match (self.has("layer"), self.has("l2")) {
            (true, _) => NormKind::Layer,
            (false, true) => NormKind::L2,
            (false, false) => NormKind::Rms,
        };
        self.norm(kind, self.has("gain"), self.has("bias"))
    }

    /// The words inside the word `key`.
    fn within(&self, key: &str) -> Result<Words<'a>, AttrError> {
        let found = self.find(key).map(|a| self.inside(a));
        found.ok_or_else(|| AttrError::Missing {
            op: self.op.into(),
            key: key.into(),
        })
    }

    fn head_matmul(&self) -> Result<HeadMatmul, AttrError> {
        Ok(HeadMatmul {
            columns: self.within("columns")?.head_columns()?,
            rows: self.within("rows")?.head_columns()?,
            over_columns: self.has("over_columns"),
            keep: self.maybe("keep")?.unwrap_or(0),
        })
    }

    fn head_columns(&self) -> Result<HeadColumns, AttrError> {
        Ok(HeadColumns {
            heads: self.get("heads")?,
            width: self.get("width")?,
            start: self.get("start")?,
            len: self.get("len")?,
        })
    }

    fn rope(&self) -> Result<Rope, AttrError> {
        Ok(Rope {
            head_dim: self.get("head_dim")?,
            start: self.maybe("start")?.unwrap_or(0),
            rotary_dim: self.get("dim")?,
            interleaved: self.has("interleaved"),
        })
    }

    fn finish(&self) -> Result<Finish, AttrError> {
        let touches = self.words.iter().filter_map(|a| self.touch(a).transpose());
        let dest = match (self.has("keys"), self.has("values")) {
            (true, _) => match self.maybe("from")? {
                Some(start) => Dest::KeyColumns(self.state("keys")?, start),
                None => Dest::Keys(self.state("keys")?),
            },
            (_, true) => Dest::Values(self.state("values")?),
            _ => Dest::Output,
        };
        Ok(Finish {
            rows: self.get("rows")?,
            touches: touches.collect::<Result<_, _>>()?,
            dest,
        })
    }

    /// What the word says is done to a projection, if it is a word for that.
    fn touch(&self, word: &'a Attr) -> Result<Option<Touch>, AttrError> {
        let w = self.inside(word);
        Ok(match word.key.as_str() {
            "norm" => Some(Touch::Norm(w.norm_by_word()?)),
            "rope" => Some(Touch::Rope(w.rope()?)),
            "position_scale" => Some(Touch::PositionScale(w.position_scale()?)),
            _ => None,
        })
    }

    fn position_scale(&self) -> Result<PositionScale, AttrError> {
        Ok(PositionScale {
            scale: self.get("scale")?,
            every: self.get("every")?,
            offset: self.get("offset")?,
        })
    }

    fn parts(&self) -> impl Iterator<Item = Words<'a>> + '_ {
        self.words
            .iter()
            .filter(|a| a.key == "part")
            .map(|a| self.inside(a))
    }

    fn matmul(&self) -> Result<Matmul, AttrError> {
        let part = |w: Words| {
            let finish = w.finish()?;
            Ok(Part {
                rows: finish.rows,
                bias: w.has("bias"),
                finish,
            })
        };
        Ok(Matmul {
            norm: self.inner_norm()?,
            quantize_x: self.has("quantize_x"),
            parts: self.parts().map(part).collect::<Result<_, _>>()?,
            join: self.act("gated")?.map_or(Join::Concat, Join::Gated),
            act: self.act("act")?,
            scale: self.maybe("scale")?,
            residual: self.has("residual"),
            quantize_y: self.has("quantize_y"),
        })
    }

    fn reach(&self) -> Result<Reach, AttrError> {
        let (window, chunk) = (self.maybe("window")?, self.maybe("chunk")?);
        let reach = window.map(Reach::Window).or(chunk.map(Reach::Chunk));
        Ok(reach.unwrap_or(Reach::Full))
    }

    fn attention(&self) -> Result<Attention, AttrError> {
        let head_dim = self.get("head_dim")?;
        Ok(Attention {
            heads: self.get("heads")?,
            kv_heads: self.get("kv_heads")?,
            head_dim,
            value_dim: self.maybe("value_dim")?.unwrap_or(head_dim),
            scale: self.get("scale")?,
            softcap: self.maybe("softcap")?,
            reach: self.reach()?,
            sinks: self.has("sinks"),
            state: self.state("state")?,
        })
    }
}

fn activation(name: &str) -> Option<Activation> {
    Activation::ALL.into_iter().find(|a| a.name() == name)
}

/// The operation that a name and options make; `roles` are the operand names given, which say what a norm has.
pub(super) fn read(op: &str, words: &[Attr], roles: &[String]) -> Result<Op, AttrError> {
    let w = Words { op, words };
    let given = |r: &str| roles.iter().any(|x| x == r);
    let norm = |kind| w.norm(kind, given("gain"), given("bias")).map(Op::Norm);
    Ok(match op {
        "embed" => Op::Embed {
            scale: w.maybe("scale")?.unwrap_or(1.0),
            limit: w.maybe("limit")?,
        },
        "position_rows" => Op::PositionRows {
            offset: w.get("offset")?,
        },
        "rope_angles" => Op::RopeAngles {
            rope: w.get("rope")?,
            rotary_dim: w.get("dim")?,
        },
        "rms_norm" => norm(NormKind::Rms)?,
        "layer_norm" => norm(NormKind::Layer)?,
        "l2_norm" => norm(NormKind::L2)?,
        "matmul" => Op::Matmul(w.matmul()?),
        "quantize" => Op::Quantize {
            norm: w.inner_norm()?,
        },
        "add" => Op::Binary(Binary::Add),
        "mul" => Op::Binary(Binary::Mul),
        "scale" => Op::Unary(Unary::Scale(w.get("by")?)),
        "softcap" => Op::Unary(Unary::Softcap(w.get("by")?)),
        "rope" => Op::Rope(w.rope()?),
        "position_scale" => Op::PositionScale(w.position_scale()?),
        "cache_write" => Op::CacheWrite {
            state: w.state("state")?,
        },
        "finish" => Op::Finish {
            parts: w.parts().map(|p| p.finish()).collect::<Result<_, _>>()?,
        },
        "scores" => Op::Scores(w.attention()?),
        "softmax" => Op::Softmax(w.attention()?),
        "mix" => Op::Mix(w.attention()?),
        "attention" => Op::Attention(w.attention()?),
        "gather_rows" => Op::GatherRows,
        "slice" => Op::Slice {
            start: w.get("start")?,
            len: w.get("len")?,
        },
        "head_slice" => Op::HeadSlice(w.head_columns()?),
        "head_matmul" => Op::HeadMatmul(w.head_matmul()?),
        "latent_attention" => Op::LatentAttention(LatentAttention {
            attention: w.within("attention")?.attention()?,
            queries: w.within("queries")?.head_matmul()?,
            results: w.within("results")?.head_matmul()?,
        }),
        "head_concat" => Op::HeadConcat(HeadConcat {
            heads: w.get("heads")?,
            left: w.get("left")?,
            right: w.get("right")?,
        }),
        "copy" => Op::Copy,
        "scale_rows" => Op::ScaleRows,
        "weighted_sum" => Op::WeightedSum(WeightedSum {
            start: w.get("start")?,
            count: roles.len().saturating_sub(1),
        }),
        "match_rms" => Op::MatchRms {
            least: w.get("least")?,
        },
        "cutoff" => Op::Cutoff { by: w.get("by")? },
        "cache_read" => Op::CacheRead {
            state: w.state("state")?,
        },
        "route" => Op::Route(w.route(given("correction"))?),
        "group_by_expert" => Op::GroupByExpert(w.grouping()?),
        "gather_tokens" => Op::GatherTokens {
            grouping: w.grouping()?,
            weighted: w.has("weighted"),
        },
        "combine" => Op::Combine {
            grouping: w.grouping()?,
            weighted: w.has("weighted"),
        },
        "grouped_matmul" => Op::GroupedMatmul(w.grouped_matmul(given("bias"))?),
        "activate" => Op::Activate(w.activate()?),
        "short_conv" => Op::ShortConv(w.short_conv()?),
        "decay" => Op::Decay {
            heads: w.get("heads")?,
        },
        "delta_rule" => Op::DeltaRule(w.delta_rule()?),
        "experts_in" => Op::ExpertsIn(w.experts_in(&given)?),
        "experts_out" => Op::ExpertsOut(w.experts_out(&given)?),
        other => match activation(other) {
            Some(a) => Op::Unary(Unary::Act(a)),
            None => return Err(AttrError::Unknown(other.into())),
        },
    })
}
