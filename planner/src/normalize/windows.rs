//! Windows by name: `OVER w`, and those that are built on others, `OVER (w ORDER BY x)` and
//! `WINDOW w2 AS (w ORDER BY x)`.
//!
//! DataFusion knows the first form, in a select list, and takes no notice of what the others are built
//! on. So each becomes a window that is written out.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, NamedWindowDefinition, NamedWindowExpr, OrderByKind, Query, Select, SetExpr,
    VisitMut, VisitorMut, WindowSpec, WindowType,
};
use job::SqlState;

use crate::error::{PlanError, Result};
use crate::parse::{Source, fold};

/// The windows of a query's ORDER BY, which knows those of its select.
pub(super) fn write_out_in_order(query: &mut Query, source: &Source) -> Result<()> {
    let (Some(order_by), SetExpr::Select(select)) = (&mut query.order_by, query.body.as_ref())
    else {
        return Ok(());
    };
    let OrderByKind::Expressions(keys) = &mut order_by.kind else {
        return Ok(());
    };
    let windows = Windows::of(&select.named_window, source)?;
    keys.iter_mut()
        .try_for_each(|key| windows.write_out(&mut key.expr))
}

/// The windows of a select list. None has a name afterwards.
pub(super) fn write_out(select: &mut Select, source: &Source) -> Result<()> {
    let windows = Windows::of(&select.named_window, source)?;
    select.named_window.clear();
    windows.write_out(&mut select.projection)
}

/// The windows of a WINDOW clause, written out.
struct Windows<'a> {
    named: Vec<(String, WindowSpec)>,
    source: &'a Source,
}

impl<'a> Windows<'a> {
    fn of(definitions: &[NamedWindowDefinition], source: &'a Source) -> Result<Self> {
        let mut windows = Self {
            named: Vec::new(),
            source,
        };
        for NamedWindowDefinition(name, definition) in definitions {
            let folded = fold(name);
            if windows.named.iter().any(|(other, _)| *other == folded) {
                let message = format!("window \"{folded}\" is already defined");
                return Err(windows.error(SqlState::WINDOWING_ERROR, message, name));
            }
            let spec = match definition {
                NamedWindowExpr::NamedWindow(other) => windows.find(other)?.clone(),
                NamedWindowExpr::WindowSpec(spec) => windows.built(spec.clone())?,
            };
            windows.named.push((folded, spec));
        }
        Ok(windows)
    }

    fn find(&self, name: &Ident) -> Result<&WindowSpec> {
        let folded = fold(name);
        let found = self.named.iter().find(|(other, _)| *other == folded);
        found.map(|(_, spec)| spec).ok_or_else(|| {
            let message = format!("window \"{folded}\" does not exist");
            self.error(SqlState::UNDEFINED_OBJECT, message, name)
        })
    }

    /// A window with what it is built on.
    fn built(&self, mut spec: WindowSpec) -> Result<WindowSpec> {
        let Some(name) = spec.window_name.take() else {
            return Ok(spec);
        };
        let base = self.find(&name)?;
        let folded = fold(&name);
        let refused = |message| Err(self.error(SqlState::WINDOWING_ERROR, message, &name));
        if !spec.partition_by.is_empty() {
            return refused(format!(
                "cannot override PARTITION BY clause of window \"{folded}\""
            ));
        }
        if !spec.order_by.is_empty() && !base.order_by.is_empty() {
            return refused(format!(
                "cannot override ORDER BY clause of window \"{folded}\""
            ));
        }
        if base.window_frame.is_some() {
            let bare = spec.order_by.is_empty() && spec.window_frame.is_none();
            return refused(format!(
                "cannot copy window \"{folded}\" because it has a frame clause"
            ))
            .map_err(|error: PlanError| match bare {
                true => error.with_hint("Omit the parentheses in this OVER clause."),
                false => error,
            });
        }
        spec.partition_by.clone_from(&base.partition_by);
        if spec.order_by.is_empty() {
            spec.order_by.clone_from(&base.order_by);
        }
        Ok(spec)
    }

    fn write_out(&self, tree: &mut impl VisitMut) -> Result<()> {
        let mut writer = Writer {
            windows: self,
            depth: 0,
        };
        match tree.visit(&mut writer) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }

    fn error(&self, state: SqlState, message: String, at: &Ident) -> PlanError {
        PlanError::new(state, message).with_position(self.source.position(at.span.start))
    }
}

struct Writer<'a> {
    windows: &'a Windows<'a>,
    /// Queries around this place: those within have windows of their own.
    depth: usize,
}

impl VisitorMut for Writer<'_> {
    type Break = PlanError;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<PlanError> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<PlanError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<PlanError> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        let written = match &function.over {
            None => return ControlFlow::Continue(()),
            Some(WindowType::NamedWindow(name)) => self.windows.find(name).cloned(),
            Some(WindowType::WindowSpec(spec)) => self.windows.built(spec.clone()),
        };
        match written {
            Ok(spec) => {
                function.over = Some(WindowType::WindowSpec(spec));
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}
