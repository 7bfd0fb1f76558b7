//! Arrays as sets, and their elements.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF, lit, when};
use datafusion::scalar::ScalarValue;

use super::alternatives::{self, Alternative};
use super::casts;
use super::quantified::{ELEMENT, boolean};
use super::rule::Typing;
use crate::arrays::elements::{element_field, misused, with_element};
use crate::error::type_name;
use crate::kit::call;

impl Typing<'_> {
    /// `&&` and `@>`, of arrays of one type of element.
    pub(super) fn array_sets(&self, func: Arc<ScalarUDF>, args: Vec<Expr>) -> Result<Expr> {
        let Ok([left, right]) = <[Expr; 2]>::try_from(args) else {
            return Err(misused("a comparison of arrays as sets takes two"));
        };
        let mut elements = Vec::new();
        for array in [&left, &right] {
            let field = array.to_field(self.schema)?.1;
            match field.data_type() {
                DataType::Null => return Ok(boolean(None)),
                DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => {}
                other => return Err(misused(format!("{} is no array", type_name(other)))),
            }
            elements.push(Alternative::column(&Arc::new(element_field(
                ELEMENT, &field,
            ))));
        }
        let Some(common) = alternatives::common_type(&elements, "ARRAY")? else {
            return Ok(call(&func, vec![left, right]));
        };
        let one = |array: Expr| -> Result<Expr> {
            let from = array.get_type(self.schema)?;
            let to = with_element(&from, common.data_type());
            if from == to {
                return Ok(array);
            }
            self.folded(casts::to_type(array, &from, &to)?)
        };
        Ok(call(&func, vec![one(left)?, one(right)?]))
    }

    /// `array[n]`: there is nothing before the first element, where DataFusion counts from the end.
    pub(super) fn array_element(&self, func: Arc<ScalarUDF>, args: Vec<Expr>) -> Result<Expr> {
        let Ok([array, index]) = <[Expr; 2]>::try_from(args) else {
            return Err(misused("a subscript takes an array and a number"));
        };
        let is_positive = matches!(
            &index,
            Expr::Literal(
                ScalarValue::Int32(Some(1..)) | ScalarValue::Int64(Some(1..)),
                _
            )
        );
        let index = if is_positive {
            index
        } else {
            when(index.clone().gt(lit(0_i32)), index).end()?
        };
        Ok(call(&func, vec![array, index]))
    }
}
