//! The kit our scalar functions are made of.
//!
//! A [`PgFunction`] is a name and a list of [`Overload`]s, as in `pg_proc`: argument types, result
//! type, and a Rust function that computes it over columns. This module owns overload choice and
//! the DataFusion trait; [`args`] owns reading arguments row by row and building results.
//! Functions are stateless: two of the same name are the same function, in the driver and on
//! every executor.

mod args;
mod ty;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::scalar::ScalarValue;

pub(crate) use args::{Args, Interval, Numeric, Output, TextArray};
pub(crate) use ty::{INTERVAL, TIMESTAMP, TIMESTAMPTZ, Ty};

use crate::error::{PgError, type_name};
use crate::pg_type::PG_TYPE_KEY;

/// How an overload's result type is found.
#[derive(Clone, Copy)]
pub(crate) enum Returns {
    Is(Ty),
    /// The type of the argument at this index.
    Argument(usize),
    /// Computed from the argument types and those arguments that are constants.
    Computed(fn(&[DataType], &[Option<&ScalarValue>]) -> Result<DataType>),
}

pub(crate) type Body = fn(&Args) -> Result<ColumnarValue>;

/// One signature of a function.
#[derive(Clone, Copy)]
pub(crate) struct Overload {
    pub(crate) arguments: &'static [Ty],
    /// The last argument may be repeated any number of times, or left out.
    pub(crate) variadic: bool,
    pub(crate) returns: Returns,
    pub(crate) body: Body,
}

impl Overload {
    pub(crate) const fn new(arguments: &'static [Ty], returns: Ty, body: Body) -> Self {
        Self {
            arguments,
            variadic: false,
            returns: Returns::Is(returns),
            body,
        }
    }

    pub(crate) const fn returning(arguments: &'static [Ty], returns: Returns, body: Body) -> Self {
        Self {
            arguments,
            variadic: false,
            returns,
            body,
        }
    }

    /// Arguments of a function that stays DataFusion's: see [`PgFunction::native`].
    pub(crate) const fn native(arguments: &'static [Ty]) -> Self {
        Self::new(arguments, Ty::Any, not_native)
    }

    pub(crate) const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    fn argument(&self, index: usize) -> Option<Ty> {
        match self.arguments.get(index) {
            Some(ty) => Some(*ty),
            None if self.variadic => self.arguments.last().copied(),
            None => None,
        }
    }

    fn takes(&self, count: usize) -> bool {
        if self.variadic {
            count + 1 >= self.arguments.len()
        } else {
            count == self.arguments.len()
        }
    }
}

fn not_native(_: &Args) -> Result<ColumnarValue> {
    internal_err!("a function of DataFusion's called as ours")
}

/// A scalar function of ours.
pub(crate) struct PgFunction {
    name: &'static str,
    aliases: Vec<String>,
    overloads: &'static [Overload],
    signature: Signature,
    /// The operator that a call of this function stands for, in column names.
    symbol: Option<&'static str>,
    /// The PostgreSQL type of the result, where the Arrow type does not tell it.
    pg_type: Option<&'static str>,
    /// The result is of the first argument's PostgreSQL type: json or jsonb.
    as_first: bool,
    /// What computes it, if that is a function of DataFusion's.
    native: Option<Arc<ScalarUDF>>,
}

impl PgFunction {
    pub(crate) fn immutable(name: &'static str, overloads: &'static [Overload]) -> Self {
        Self::with_volatility(name, overloads, Volatility::Immutable)
    }

    /// The same answer within a statement: it reads session facts.
    pub(crate) fn stable(name: &'static str, overloads: &'static [Overload]) -> Self {
        Self::with_volatility(name, overloads, Volatility::Stable)
    }

    pub(crate) fn volatile(name: &'static str, overloads: &'static [Overload]) -> Self {
        Self::with_volatility(name, overloads, Volatility::Volatile)
    }

    fn with_volatility(
        name: &'static str,
        overloads: &'static [Overload],
        volatility: Volatility,
    ) -> Self {
        Self {
            name,
            aliases: Vec::new(),
            overloads,
            signature: Signature::user_defined(volatility),
            symbol: None,
            pg_type: None,
            as_first: false,
            native: None,
        }
    }

    pub(crate) fn typed(mut self, pg_type: &'static str) -> Self {
        self.pg_type = Some(pg_type);
        self
    }

    pub(crate) fn typed_as_first(mut self) -> Self {
        self.as_first = true;
        self
    }

    /// DataFusion's function with PostgreSQL's argument types: what those do not take is refused
    /// by name and types before DataFusion's own coercions find a meaning for it.
    pub(crate) fn native(
        name: &'static str,
        inner: &Arc<ScalarUDF>,
        overloads: &'static [Overload],
    ) -> Self {
        Self {
            native: Some(Arc::clone(inner)),
            aliases: inner.aliases().to_vec(),
            ..Self::with_volatility(name, overloads, inner.signature().volatility)
        }
    }

    pub(crate) fn shown_as(mut self, symbol: &'static str) -> Self {
        self.symbol = Some(symbol);
        self
    }

    pub(crate) fn alias(mut self, alias: &str) -> Self {
        self.aliases.push(alias.to_owned());
        self
    }

    pub(crate) fn udf(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(self))
    }

    /// The cheapest overload for these arguments, and the types to give it.
    ///
    /// `unknown` says of each argument whether it is an untyped literal, which becomes whatever
    /// the overload asks for.
    pub(crate) fn resolve(
        &self,
        types: &[DataType],
        unknown: &[bool],
    ) -> Option<(&Overload, Vec<DataType>)> {
        let mut best: Option<(u32, &Overload)> = None;
        for overload in self.overloads.iter().filter(|o| o.takes(types.len())) {
            let cost = types.iter().enumerate().try_fold(0_u32, |cost, (i, from)| {
                let ty = overload.argument(i)?;
                let unknown = unknown.get(i).copied().unwrap_or(false);
                Some(cost + ty.cost_from(from, unknown)?)
            });
            if let Some(cost) = cost
                && best.is_none_or(|(least, _)| cost < least)
            {
                best = Some((cost, overload));
            }
        }
        let (_, overload) = best?;
        let types = types
            .iter()
            .enumerate()
            .map(|(i, from)| match overload.argument(i) {
                Some(ty) => ty.given(from),
                None => from.clone(),
            })
            .collect();
        Some((overload, types))
    }

    fn overload(&self, types: &[DataType]) -> Result<&Overload> {
        // Text may be an untyped literal here: before analysis nobody has told them apart.
        let maybe_unknown: Vec<bool> = types.iter().map(|t| *t == DataType::Utf8).collect();
        self.resolve(types, &maybe_unknown)
            .map(|(overload, _)| overload)
            .ok_or_else(|| self.undefined(types).into())
    }

    pub(crate) fn undefined(&self, types: &[DataType]) -> PgError {
        let names: Vec<String> = types.iter().map(type_name).collect();
        PgError::undefined_function(self.name, &names)
    }
}

impl std::fmt::Debug for PgFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgFunction")
            .field("name", &self.name)
            .finish()
    }
}

impl PartialEq for PgFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for PgFunction {}

impl Hash for PgFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for PgFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let names: Vec<String> = args
            .iter()
            .map(|arg| arg.schema_name().to_string())
            .collect();
        Ok(match (self.symbol, names.as_slice()) {
            (Some(symbol), [left, right]) => format!("{left} {symbol} {right}"),
            _ => format!("{}({})", self.name, names.join(",")),
        })
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let maybe_unknown: Vec<bool> = types.iter().map(|t| *t == DataType::Utf8).collect();
        let Some((_, types)) = self.resolve(types, &maybe_unknown) else {
            return Err(self.undefined(types).into());
        };
        match &self.native {
            None => Ok(types),
            // What DataFusion wants of the types that PostgreSQL takes.
            Some(native) => {
                let fields: Vec<FieldRef> = types
                    .into_iter()
                    .map(|data_type| Arc::new(Field::new("", data_type, true)))
                    .collect();
                let fields = fields_with_udf(&fields, native.as_ref())?;
                Ok(fields
                    .iter()
                    .map(|field| field.data_type().clone())
                    .collect())
            }
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let constants = vec![None; types.len()];
        self.result_type(types, &constants)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let data_type = self.result_type(&types, args.scalar_arguments)?;
        let field = Field::new(self.name, data_type, true);
        let of_first = match args.arg_fields.first() {
            Some(first) if self.as_first => first.metadata().get(PG_TYPE_KEY).map(String::as_str),
            _ => None,
        };
        Ok(Arc::new(match self.pg_type.or(of_first) {
            Some(pg_type) => {
                field.with_metadata([(PG_TYPE_KEY.to_owned(), pg_type.to_owned())].into())
            }
            None => field,
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        if let Some(native) = &self.native {
            return native.invoke_with_args(args);
        }
        let overload = self.overload(&types)?;
        (overload.body)(&Args::new(args)?)
    }
}

impl PgFunction {
    fn result_type(
        &self,
        types: &[DataType],
        constants: &[Option<&ScalarValue>],
    ) -> Result<DataType> {
        let overload = self.overload(types)?;
        if let Some(native) = &self.native {
            let fields: Vec<FieldRef> = types
                .iter()
                .map(|data_type| Arc::new(Field::new("", data_type.clone(), true)))
                .collect();
            let field = native.return_field_from_args(ReturnFieldArgs {
                arg_fields: &fields,
                scalar_arguments: constants,
            })?;
            return Ok(field.data_type().clone());
        }
        match overload.returns {
            Returns::Is(ty) => Ok(ty.given(&DataType::Null)),
            Returns::Argument(index) => types
                .get(index)
                .cloned()
                .ok_or_else(|| self.undefined(types).into()),
            Returns::Computed(compute) => compute(types, constants),
        }
    }
}

/// The [`PgFunction`] behind a call, if it is one of ours.
pub(crate) fn as_ours(udf: &ScalarUDF) -> Option<&PgFunction> {
    let inner: &dyn std::any::Any = udf.inner().as_ref();
    inner.downcast_ref::<PgFunction>()
}

/// A call of one of our functions in a plan.
pub(crate) fn call(udf: &Arc<ScalarUDF>, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(datafusion::logical_expr::expr::ScalarFunction::new_udf(
        Arc::clone(udf),
        args,
    ))
}
