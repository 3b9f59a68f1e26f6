//! Attention: to a cache of keys and values, in three operations or one, and to latents.

use super::heads::HeadMatmul;
use super::index::{listing_words, read_listing};
use super::operand::{Reads, Role, Take};
use super::rule::{Given, Rule, ShapeError};
use super::words::{Attr, AttrError, Words, flag, float, set, tree};
use crate::graph::dim::{Dim, Shape, StateId, shape_text};
use crate::spec::model::{Listing, Profiles, Reach};

/// Options of attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a query or key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// `c · tanh(score / c)`.
    pub softcap: Option<f32>,
    /// Which positions a query sees.
    pub reach: Reach,
    /// Has an operand with a logit for each head, `[heads]`, that the softmax's sum starts with.
    pub sinks: bool,
    /// Has an operand with what scores fall by with each position of distance, for each head, `[heads]`.
    pub slopes: bool,
    /// Has operands with what is added to scores by distance: `Σ_c r[c] · P[c, d]` where `d` is below the extent.
    pub relative: Option<Profiles>,
    /// Has an operand that lists the keys that each query attends to; all that it sees if not.
    pub picked: Option<Listing>,
    /// The KV state.
    pub state: StateId,
}

/// Latent attention as one operation, `results(attention(queries(q)))`, which for many queries is cheaper in another order: keys
/// and values of a head are expanded from the latents, a block at a time, and attended to as usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatentAttention {
    /// Attention to the latents, by one key head whose leading columns are the values.
    pub attention: Attention,
    /// From queries to queries of latents.
    pub queries: HeadMatmul,
    /// From sums of latents to sums of values.
    pub results: HeadMatmul,
}

/// Operands of a cache write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeysValues<T> {
    /// `[T, kv_heads · head_dim]`.
    pub k: T,
    /// `[T, kv_heads · value_dim]`.
    pub v: T,
}

/// Operands of scores, and of attention in one pass.
#[derive(Clone, Copy, Debug)]
pub struct AttentionOperands<T> {
    /// `[T, heads · head_dim]`.
    pub q: T,
    /// What writes the state, or says that an earlier layer has.
    pub after: T,
    /// `[heads]`, read where scores are made.
    pub slopes: Option<T>,
    /// Read where scores are made.
    pub relative: Option<RelativeOperands<T>>,
    /// `[heads]`, read by the softmax.
    pub sinks: Option<T>,
    /// `[T, what a listing has]`, read by the softmax.
    pub picked: Option<T>,
}

/// Operands with what is added to scores by distance.
#[derive(Clone, Copy, Debug)]
pub struct RelativeOperands<T> {
    /// `[T, heads · dim]`.
    pub r: T,
    /// `[dim, extent]`.
    pub profiles: T,
}

/// Operands of the softmax of scores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftmaxOperands<T> {
    /// `[heads, queries, keys]`.
    pub x: T,
    /// `[heads]`.
    pub sinks: Option<T>,
    /// `[T, what a listing has]`.
    pub picked: Option<T>,
}

/// Operands of the weighted sum of values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MixOperands<T> {
    /// `[heads, queries, keys]`.
    pub p: T,
    /// What writes the state, or says that an earlier layer has.
    pub after: T,
}

/// Operands of attention to latents.
#[derive(Clone, Copy, Debug)]
pub struct LatentOperands<T> {
    /// `[T, heads · key_dim]`.
    pub q: T,
    /// What writes the state.
    pub after: T,
    /// The weight of the products before and after.
    pub weight: T,
}

impl<T> KeysValues<T> {
    /// The walk.
    pub(crate) fn of(take: Take<T>) -> Self {
        KeysValues {
            k: take(Role::K, Reads::Rows),
            v: take(Role::V, Reads::Rows),
        }
    }
}

impl<T> RelativeOperands<T> {
    /// The walk.
    fn of(take: Take<T>) -> Self {
        RelativeOperands {
            r: take(Role::Relative, Reads::Rows),
            profiles: take(Role::Profiles, Reads::Vector),
        }
    }

    /// One after the other.
    pub(crate) fn in_order(self) -> impl Iterator<Item = T> {
        [self.r, self.profiles].into_iter()
    }
}

impl Attention {
    /// Whether scores depend on distances, other than by what a query sees.
    pub(crate) fn by_distance(&self) -> bool {
        self.slopes || self.relative.is_some()
    }

    /// Query heads that share a key head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The walk of attention in one pass.
    pub fn operands<T>(&self, take: Take<T>) -> AttentionOperands<T> {
        AttentionOperands {
            q: take(Role::Q, Reads::Rows),
            after: take(Role::After, Reads::Order),
            slopes: self.slopes.then(|| take(Role::Slopes, Reads::Vector)),
            relative: self.relative.map(|_| RelativeOperands::of(take)),
            sinks: self.sinks.then(|| take(Role::Sinks, Reads::Vector)),
            picked: self.picked.map(|_| take(Role::Picked, Reads::Positions)),
        }
    }

    /// The walk of scores, which know of no sinks and are made for all keys that a query sees.
    pub(crate) fn scores_operands<T>(&self, take: Take<T>) -> AttentionOperands<T> {
        AttentionOperands {
            q: take(Role::Q, Reads::Rows),
            after: take(Role::After, Reads::Order),
            slopes: self.slopes.then(|| take(Role::Slopes, Reads::Vector)),
            relative: self.relative.map(|_| RelativeOperands::of(take)),
            sinks: None,
            picked: None,
        }
    }

    /// The walk of the softmax of scores.
    pub(crate) fn softmax_operands<T>(&self, take: Take<T>) -> SoftmaxOperands<T> {
        SoftmaxOperands {
            x: take(Role::X, Reads::Rows),
            sinks: self.sinks.then(|| take(Role::Sinks, Reads::Vector)),
            picked: self.picked.map(|_| take(Role::Picked, Reads::Positions)),
        }
    }

    /// The walk of the weighted sum of values.
    pub(crate) fn mix_operands<T>(&self, take: Take<T>) -> MixOperands<T> {
        MixOperands {
            p: take(Role::P, Reads::Rows),
            after: take(Role::After, Reads::Order),
        }
    }

    fn result(&self) -> Shape {
        vec![Dim::Tokens, Dim::Const(self.heads * self.value_dim)]
    }

    fn score_shape(&self) -> Shape {
        vec![Dim::Const(self.heads), Dim::Queries, Dim::Keys]
    }

    pub(super) fn shape(
        &self,
        rule: &Rule,
        o: &AttentionOperands<Given>,
    ) -> Result<Shape, ShapeError> {
        self.queries_fit(rule, o)?;
        self.each_head(rule, o.sinks)?;
        self.positions_fit(rule, o.picked)?;
        Ok(self.result())
    }

    pub(super) fn scores_shape(
        &self,
        rule: &Rule,
        o: &AttentionOperands<Given>,
    ) -> Result<Shape, ShapeError> {
        self.queries_fit(rule, o)?;
        Ok(self.score_shape())
    }

    pub(super) fn softmax_shape(
        &self,
        rule: &Rule,
        o: &SoftmaxOperands<Given>,
    ) -> Result<Shape, ShapeError> {
        self.are_scores(rule, o.x)?;
        self.each_head(rule, o.sinks)?;
        self.positions_fit(rule, o.picked)?;
        Ok(o.x.shape.clone())
    }

    pub(super) fn mix_shape(
        &self,
        rule: &Rule,
        o: &MixOperands<Given>,
    ) -> Result<Shape, ShapeError> {
        self.are_scores(rule, o.p)?;
        self.state_fits(rule)?;
        Ok(self.result())
    }

    fn are_scores(&self, rule: &Rule, x: Given) -> Result<(), ShapeError> {
        let expected = self.score_shape();
        let what = format!("shape of {}", x.role);
        let [said, wanted] = [x.shape, &expected].map(|s| shape_text(s));
        rule.check(&what, *x.shape == expected, said, wanted)
    }

    /// That there is a number for each head.
    fn each_head(&self, rule: &Rule, numbers: Option<Given>) -> Result<(), ShapeError> {
        numbers.map_or(Ok(()), |n| rule.vector(n, self.heads))
    }

    /// That there are as many positions for each query as are picked, of all that it sees.
    fn positions_fit(&self, rule: &Rule, picked: Option<Given>) -> Result<(), ShapeError> {
        let (Some(listing), Some(picked)) = (self.picked, picked) else {
            return Ok(());
        };
        let full = self.reach == Reach::Full && !self.by_distance();
        let wanted = "all positions, whatever the distance, where some are picked";
        rule.check("reach", full, "with options", wanted)?;
        rule.of_tokens(picked)?;
        let whole = listing.sets > 0 && self.kv_heads.is_multiple_of(listing.sets);
        let divisor = format!("a divisor of {}", self.kv_heads);
        rule.check("sets", whole, listing.sets, divisor)?;
        rule.has_width(picked, listing.width())
    }

    /// That queries, what is added to scores, and state fit.
    fn queries_fit(&self, rule: &Rule, o: &AttentionOperands<Given>) -> Result<(), ShapeError> {
        self.state_fits(rule)?;
        self.each_head(rule, o.slopes)?;
        if let (Some(p), Some(o)) = (self.relative, &o.relative) {
            rule.of_tokens(o.r)?;
            rule.has_width(o.r, self.heads * p.dim)?;
            rule.matrix(o.profiles, p.dim, p.extent)?;
        }
        rule.of_tokens(o.q)?;
        rule.has_width(o.q, self.heads * self.head_dim)
    }

    fn state_fits(&self, rule: &Rule) -> Result<(), ShapeError> {
        let d = rule.state(self.state)?;
        let whole = self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads);
        let divisor = format!("a divisor of {}", self.heads);
        rule.check("kv_heads", whole, self.kv_heads, divisor)?;
        let asked = (self.kv_heads, self.head_dim, self.value_dim);
        let declared = (d.kv_heads, d.head_dim, d.value_dim);
        rule.check(
            "heads of the state",
            asked == declared,
            format!("{declared:?}"),
            format!("{asked:?}"),
        )?;
        let rows = |ring: Option<usize>| ring.map_or("none".into(), |n| format!("{n} rows"));
        let limit = self.reach.limit();
        rule.check(
            "ring of the state",
            d.ring == limit,
            rows(d.ring),
            format!("{}, as far as queries look back", rows(limit)),
        )
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out = vec![
            set("heads", self.heads),
            set("kv_heads", self.kv_heads),
            set("head_dim", self.head_dim),
        ];
        let narrower = self.value_dim != self.head_dim;
        out.extend(narrower.then(|| set("value_dim", self.value_dim)));
        out.push(float("scale", self.scale));
        out.extend(self.softcap.map(|c| float("softcap", c)));
        match self.reach {
            Reach::Full => {}
            Reach::Window(w) => out.push(set("window", w)),
            Reach::Chunk(c) => out.push(set("chunk", c)),
        }
        out.extend(self.sinks.then(|| flag("sinks")));
        out.extend(self.slopes.then(|| flag("slopes")));
        out.extend(self.relative.map(|p| {
            let size = vec![set("dim", p.dim), set("extent", p.extent)];
            tree("relative", size)
        }));
        out.extend(self.picked.map(|l| tree("picked", listing_words(&l))));
        out.push(set("state", self.state));
        out
    }

    pub(super) fn read(w: &Words) -> Result<Attention, AttrError> {
        let head_dim = w.get("head_dim")?;
        let (window, chunk) = (w.maybe("window")?, w.maybe("chunk")?);
        let profiles = |w: Words<'_>| {
            Ok(Profiles {
                dim: w.get("dim")?,
                extent: w.get("extent")?,
            })
        };
        let relative = w.find("relative").map(|a| profiles(w.inside(a)));
        let reach = window.map(Reach::Window).or(chunk.map(Reach::Chunk));
        Ok(Attention {
            heads: w.get("heads")?,
            kv_heads: w.get("kv_heads")?,
            head_dim,
            value_dim: w.maybe("value_dim")?.unwrap_or(head_dim),
            scale: w.get("scale")?,
            softcap: w.maybe("softcap")?,
            reach: reach.unwrap_or(Reach::Full),
            sinks: w.has("sinks"),
            slopes: w.has("slopes"),
            relative: relative.transpose()?,
            picked: w
                .find("picked")
                .map(|a| read_listing(&w.inside(a)))
                .transpose()?,
            state: w.state("state")?,
        })
    }
}

/// That keys and values are rows of the state.
pub(super) fn cache_write_shape(
    state: StateId,
    rule: &Rule,
    o: &KeysValues<Given>,
) -> Result<Shape, ShapeError> {
    let d = rule.state(state)?;
    rule.has_width(o.k, d.kv_heads * d.head_dim)?;
    rule.has_width(o.v, d.kv_heads * d.value_dim)?;
    rule.of_tokens(o.k)?;
    rule.of_tokens(o.v)?;
    Ok(vec![])
}

impl LatentAttention {
    /// Width of the latent.
    pub fn rank(&self) -> usize {
        self.attention.value_dim
    }

    /// Columns of a key that are not expanded.
    pub fn kept(&self) -> usize {
        self.queries.keep
    }

    /// Width of an expanded key.
    pub fn key_dim(&self) -> usize {
        self.queries.rows.len + self.queries.keep
    }

    /// Width of an expanded value.
    pub fn value_dim(&self) -> usize {
        self.results.rows.len
    }

    /// Width of the result.
    pub fn width(&self) -> usize {
        self.attention.heads * self.value_dim()
    }

    /// The walk.
    pub fn operands<T>(&self, take: Take<T>) -> LatentOperands<T> {
        LatentOperands {
            q: take(Role::Q, Reads::Rows),
            after: take(Role::After, Reads::Order),
            weight: take(Role::Weight, Reads::MatrixByHead),
        }
    }

    /// The three parts fit each other as they would apart.
    pub(super) fn shape(
        &self,
        rule: &Rule,
        o: &LatentOperands<Given>,
    ) -> Result<Shape, ShapeError> {
        let a = &self.attention;
        rule.of_tokens(o.q)?;
        let rows = o.q.shape[0];
        self.queries
            .columns
            .fit(rule, "columns", rule.width(o.q)?)?;
        let found = self.queries.product_shape(rule, rows, o.weight)?[1];
        let expected = Dim::Const(a.heads * a.head_dim);
        rule.check("queries of latents", found == expected, found, expected)?;
        a.state_fits(rule)?;
        let (found, expected) = (self.results.columns, (a.heads, a.value_dim));
        rule.check(
            "columns of the results",
            (found.heads, found.width) == expected,
            format!("{found:?}"),
            format!("{expected:?}"),
        )?;
        let bare = !a.sinks && !a.by_distance() && a.picked.is_none();
        let plain = a.kv_heads == 1 && bare && a.reach == Reach::Full && self.results.keep == 0;
        let wanted =
            "to all keys of one head, without sinks and whatever the distance, none picked";
        rule.check("attention", plain, "with options", wanted)?;
        self.results.product_shape(rule, rows, o.weight)
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        vec![
            tree("attention", self.attention.words()),
            tree("queries", self.queries.words()),
            tree("results", self.results.words()),
        ]
    }

    pub(super) fn read(w: &Words) -> Result<LatentAttention, AttrError> {
        Ok(LatentAttention {
            attention: Attention::read(&w.within("attention")?)?,
            queries: HeadMatmul::read(&w.within("queries")?)?,
            results: HeadMatmul::read(&w.within("results")?)?,
        })
    }
}
