//! Which macro a comprehension was.
//!
//! The parser writes `list.exists(x, …)` and its kin out as general loops. Evaluated as such, `map` and `filter` would
//! copy what they have collected with each element. So the macro is recognised again, by what its loop begins with.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};

use super::node::What;

/// A macro over a range.
pub(super) struct Shape<'e> {
    pub(super) what: What,
    pub(super) test: Option<&'e IdedExpr>,
    pub(super) item: Option<&'e IdedExpr>,
}

/// The macro; `None` if it is none that we know.
pub(super) fn of(each: &ComprehensionExpr) -> Option<Shape<'_>> {
    let Expr::Call(step) = &each.loop_step.expr else {
        return None;
    };
    let test = |what, test| {
        Some(Shape {
            what,
            test: Some(test),
            item: None,
        })
    };
    match (
        &each.accu_init.expr,
        step.func_name.as_str(),
        &step.args[..],
    ) {
        (Expr::Literal(LiteralValue::Boolean(init)), operators::LOGICAL_OR, [_, one])
            if !*init.inner() =>
        {
            test(What::Exists, one)
        }
        (Expr::Literal(LiteralValue::Boolean(init)), operators::LOGICAL_AND, [_, one])
            if *init.inner() =>
        {
            test(What::All, one)
        }
        (Expr::Literal(LiteralValue::Int(_)), operators::CONDITIONAL, [one, _, _]) => {
            test(What::ExistsOne, one)
        }
        (Expr::List(_), operators::CONDITIONAL, [test, collect, _]) => {
            let Expr::Call(collect) = &collect.expr else {
                return None;
            };
            Some(Shape {
                what: What::Collect,
                test: Some(test),
                item: Some(collected(collect)?),
            })
        }
        (Expr::List(_), operators::ADD, _) => Some(Shape {
            what: What::Collect,
            test: None,
            item: Some(collected(step)?),
        }),
        _ => None,
    }
}

/// `x` of `result + [x]`.
fn collected(add: &CallExpr) -> Option<&IdedExpr> {
    match &add.args[..] {
        [
            _,
            IdedExpr {
                expr: Expr::List(list),
                ..
            },
        ] if add.func_name == operators::ADD => list.elements.first(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use cel::parser::Parser;

    use super::*;

    fn each(text: &str) -> ComprehensionExpr {
        match Parser::new().parse(text).unwrap().expr {
            Expr::Comprehension(each) => *each,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// What another version of the parser may write, and we would misread.
    #[test]
    fn a_loop_that_begins_or_goes_on_otherwise_is_no_macro() {
        let (mut exists, mut all) = (each("[1].exists(x, true)"), each("[1].all(x, true)"));
        assert!(of(&exists).is_some() && of(&all).is_some());
        std::mem::swap(&mut exists.accu_init, &mut all.accu_init);
        assert!(of(&exists).is_none() && of(&all).is_none());

        let mut filter = each("[1].filter(x, true)");
        assert!(of(&filter).is_some());
        let Expr::Call(step) = &mut filter.loop_step.expr else {
            panic!("{filter:?}");
        };
        let Expr::Call(collect) = &mut step.args[1].expr else {
            panic!("{step:?}");
        };
        collect.func_name = operators::SUBSTRACT.to_owned();
        assert!(of(&filter).is_none());
    }
}
