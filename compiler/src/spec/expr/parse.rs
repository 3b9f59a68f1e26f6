//! Text to expression, by recursive descent. Loosest first:
//! `c ? a : b`, `||`, `&&`, comparisons, `??`, `+ -`, `* / // %`, unary `- !`, `**`, then `.key`, `[index]` and calls.
//!
//! `??` binds more tightly than comparisons, so that `flag ?? false == true` asks for the flag.

use serde_json::Value;

use super::super::error::{Fault, Syntax};
use super::function::Function;
use super::tree::{Arithmetic, Comparison, Expr};

/// Longest expression, in bytes: keeps trees shallow enough to walk without a limit of their own.
const MAX_LENGTH: usize = 1000;
/// Deepest nesting of brackets and operators that nest to the right.
const MAX_NESTING: usize = 40;

pub(crate) fn parse(text: &str) -> Result<Expr, Fault> {
    let mut parser = Parser {
        text,
        pos: 0,
        nesting: 0,
    };
    if text.len() > MAX_LENGTH {
        return Err(parser.fault(Syntax::Length));
    }
    let expr = parser.choice()?;
    parser.skip_space();
    if parser.pos < text.len() {
        Err(parser.fault(Syntax::Operator))
    } else {
        Ok(expr)
    }
}

struct Parser<'t> {
    text: &'t str,
    pos: usize,
    nesting: usize,
}

/// One level of left-associative operators, longer symbols before their prefixes.
type Level<T> = [(&'static str, T)];
const COMPARISONS: &Level<Comparison> = &[
    ("==", Comparison::Eq),
    ("!=", Comparison::Ne),
    ("<=", Comparison::Le),
    (">=", Comparison::Ge),
    ("<", Comparison::Lt),
    (">", Comparison::Gt),
];
const SUMS: &Level<Arithmetic> = &[("+", Arithmetic::Add), ("-", Arithmetic::Sub)];
const PRODUCTS: &Level<Arithmetic> = &[
    ("//", Arithmetic::FloorDiv),
    ("/", Arithmetic::Div),
    ("%", Arithmetic::Rem),
    ("*", Arithmetic::Mul),
];

impl Parser<'_> {
    fn fault(&self, problem: Syntax) -> Fault {
        // An expression beyond the limit is shown by its beginning.
        let text = self.text.chars().take(80).collect();
        let column = 1 + self.text[..self.pos].chars().count();
        Fault::Syntax {
            text,
            column,
            problem,
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.pos..]
    }

    fn skip_space(&mut self) {
        self.pos += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes `symbol` if it is next, unless what follows makes it another, longer one.
    fn take(&mut self, symbol: &str) -> bool {
        self.skip_space();
        let longer = match symbol {
            "?" => "??",
            "*" => "**",
            _ => "",
        };
        let found = self.rest().starts_with(symbol)
            && (longer.is_empty() || !self.rest().starts_with(longer));
        if found {
            self.pos += symbol.len();
        }
        found
    }

    fn expect(&mut self, symbol: &str, problem: Syntax) -> Result<(), Fault> {
        if self.take(symbol) {
            Ok(())
        } else {
            Err(self.fault(problem))
        }
    }

    fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.nesting == MAX_NESTING {
            return Err(self.fault(Syntax::Length));
        }
        self.nesting += 1;
        let result = f(self);
        self.nesting -= 1;
        result
    }

    fn choice(&mut self) -> Result<Expr, Fault> {
        let condition = self.or()?;
        if !self.take("?") {
            return Ok(condition);
        }
        let yes = self.nested(Self::choice)?;
        self.expect(":", Syntax::Colon)?;
        let no = self.nested(Self::choice)?;
        Ok(Expr::Choice(condition.into(), yes.into(), no.into()))
    }

    fn or(&mut self) -> Result<Expr, Fault> {
        let mut left = self.and()?;
        while self.take("||") {
            left = Expr::Or(left.into(), self.and()?.into());
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, Fault> {
        let mut left = self.comparison()?;
        while self.take("&&") {
            left = Expr::And(left.into(), self.comparison()?.into());
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expr, Fault> {
        self.level(COMPARISONS, Expr::Comparison, Self::default)
    }

    fn default(&mut self) -> Result<Expr, Fault> {
        let mut left = self.sum()?;
        while self.take("??") {
            left = Expr::Default(left.into(), self.sum()?.into());
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expr, Fault> {
        self.level(SUMS, Expr::Arithmetic, Self::product)
    }

    fn product(&mut self) -> Result<Expr, Fault> {
        self.level(PRODUCTS, Expr::Arithmetic, Self::unary)
    }

    fn level<T: Copy>(
        &mut self,
        ops: &Level<T>,
        join: fn(T, Box<Expr>, Box<Expr>) -> Expr,
        operand: fn(&mut Self) -> Result<Expr, Fault>,
    ) -> Result<Expr, Fault> {
        let mut left = operand(self)?;
        while let Some((_, op)) = ops.iter().find(|(symbol, _)| self.take(symbol)) {
            left = join(*op, left.into(), operand(self)?.into());
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        if self.take("-") {
            return Ok(Expr::Negate(self.nested(Self::unary)?.into()));
        }
        self.skip_space();
        if !self.rest().starts_with("!=") && self.take("!") {
            return Ok(Expr::Not(self.nested(Self::unary)?.into()));
        }
        let base = self.postfix()?;
        if self.take("**") {
            return Ok(Expr::Arithmetic(
                Arithmetic::Pow,
                base.into(),
                self.nested(Self::unary)?.into(),
            ));
        }
        Ok(base)
    }

    fn postfix(&mut self) -> Result<Expr, Fault> {
        let mut expr = self.atom()?;
        loop {
            if self.take(".") {
                let key = self.word().ok_or_else(|| self.fault(Syntax::Field))?;
                expr = Expr::Field(expr.into(), key);
            } else if self.take("[") {
                let index = self.nested(Self::choice)?;
                self.expect("]", Syntax::Bracket)?;
                expr = Expr::Index(expr.into(), index.into());
            } else {
                return Ok(expr);
            }
        }
    }

    fn atom(&mut self) -> Result<Expr, Fault> {
        if self.take("(") {
            let inner = self.nested(Self::choice)?;
            self.expect(")", Syntax::Paren)?;
            return Ok(inner);
        }
        if self.take("'") {
            return self.string();
        }
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return self.number();
        }
        let start = self.pos;
        let Some(word) = self.word() else {
            return Err(self.fault(Syntax::Value));
        };
        match word.as_str() {
            "true" => Ok(Expr::Literal(true.into())),
            "false" => Ok(Expr::Literal(false.into())),
            "null" => Ok(Expr::Literal(Value::Null)),
            _ if self.take("(") => self.call(&word, start),
            _ => Ok(Expr::Name(word)),
        }
    }

    fn word(&mut self) -> Option<String> {
        let rest = self.rest();
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return None;
        }
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let word = rest[..end].to_string();
        self.pos += end;
        Some(word)
    }

    fn string(&mut self) -> Result<Expr, Fault> {
        let Some(end) = self.rest().find('\'') else {
            return Err(self.fault(Syntax::Quote));
        };
        let text = self.rest()[..end].to_string();
        self.pos += end + 1;
        Ok(Expr::Literal(text.into()))
    }

    fn number(&mut self) -> Result<Expr, Fault> {
        let bytes = self.rest().as_bytes();
        let mut end = 0;
        while end < bytes.len() {
            let exponent_sign = matches!(bytes[end], b'+' | b'-')
                && end > 0
                && matches!(bytes[end - 1], b'e' | b'E');
            if !(bytes[end].is_ascii_digit()
                || matches!(bytes[end], b'.' | b'e' | b'E')
                || exponent_sign)
            {
                break;
            }
            end += 1;
        }
        let text = &self.rest()[..end];
        let value = text.parse::<i64>().map(Value::from).ok();
        let value = value.or_else(|| {
            text.parse::<f64>()
                .ok()
                .and_then(serde_json::Number::from_f64)
                .map(Value::Number)
        });
        let value = value.ok_or_else(|| self.fault(Syntax::Number))?;
        self.pos += end;
        Ok(Expr::Literal(value))
    }

    fn call(&mut self, name: &str, start: usize) -> Result<Expr, Fault> {
        let mut args = Vec::new();
        if !self.take(")") {
            loop {
                args.push(self.nested(Self::choice)?);
                if !self.take(",") {
                    break;
                }
            }
            self.expect(")", Syntax::Paren)?;
        }
        let found = Function::ALL.iter().find(|(n, _, _)| *n == name);
        self.pos = if found.is_some_and(|(_, _, arity)| arity.contains(&args.len())) {
            self.pos
        } else {
            start
        };
        match found {
            None => Err(self.fault(Syntax::Function)),
            Some((_, _, arity)) if !arity.contains(&args.len()) => {
                Err(self.fault(Syntax::Arguments))
            }
            Some((_, function, _)) => Ok(Expr::Call(*function, args)),
        }
    }
}
