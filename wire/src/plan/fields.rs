//! Expressions whose result has a field of its own, with metadata: `datafusion-proto` sends its
//! type only, but metadata is where PostgreSQL's types are named.
//!
//! Such an expression travels inside an extension that carries the field, and gets it back.

use std::sync::Arc;

use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::expressions::{CastExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::to_proto::serialize_physical_expr_with_converter;
use datafusion_proto::physical_plan::{
    DeduplicatingProtoConverter, PhysicalExtensionCodec, PhysicalPlanDecodeContext,
    PhysicalPlanNodeExt, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use datafusion_proto::protobuf::physical_expr_node::ExprType;

use super::others::{decode_schema, encode_schema};

/// DataFusion's converter, but for fields.
pub(super) struct FieldConverter;

const STOCK: DeduplicatingProtoConverter = DeduplicatingProtoConverter {};

impl PhysicalProtoConverterExtension for FieldConverter {
    fn proto_to_execution_plan(
        &self,
        proto: &protobuf::PhysicalPlanNode,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        STOCK.proto_to_execution_plan(proto, context)
    }

    fn execution_plan_to_proto(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<protobuf::PhysicalPlanNode> {
        protobuf::PhysicalPlanNode::try_from_physical_plan_with_converter(
            Arc::clone(plan),
            codec,
            self,
        )
    }

    fn proto_to_physical_expr(
        &self,
        proto: &protobuf::PhysicalExprNode,
        input_schema: &Schema,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        STOCK.proto_to_physical_expr(proto, input_schema, context)
    }

    fn physical_expr_to_proto(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<protobuf::PhysicalExprNode> {
        let node = serialize_physical_expr_with_converter(expr, codec, self)?;
        let Some(field) = own_field(expr)? else {
            return Ok(node);
        };
        // A schema of this one field: there is no message for a field alone.
        Ok(protobuf::PhysicalExprNode {
            expr_id: None,
            expr_type: Some(ExprType::Extension(protobuf::PhysicalExtensionExprNode {
                expr: encode_schema(&Schema::new(vec![field]))?,
                inputs: vec![node],
            })),
        })
    }
}

/// The field that would be lost on the way.
fn own_field(expr: &Arc<dyn PhysicalExpr>) -> Result<Option<FieldRef>> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return Ok(cast
            .has_explicit_metadata()
            .then(|| Arc::clone(cast.target_field())));
    }
    if expr.is::<Literal>() || expr.is::<ScalarFunctionExpr>() {
        // Neither looks at its input's schema.
        let field = expr.return_field(&Schema::empty())?;
        return Ok((!field.metadata().is_empty()).then_some(field));
    }
    Ok(None)
}

/// Gives an expression the field that came with it.
pub(super) fn with_field(
    field: &[u8],
    inputs: &[Arc<dyn PhysicalExpr>],
) -> Result<Arc<dyn PhysicalExpr>> {
    let schema = decode_schema(field)?;
    let ([expr], [field]) = (inputs, schema.fields().as_ref()) else {
        return internal_err!("an expression with {} fields", schema.fields().len());
    };
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return Ok(Arc::new(CastExpr::new_with_target_field(
            Arc::clone(cast.expr()),
            Arc::clone(field),
            Some(cast.cast_options().clone()),
        )));
    }
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return Ok(Arc::new(Literal::new_with_metadata(
            literal.value().clone(),
            Some(FieldMetadata::from(field.metadata())),
        )));
    }
    if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
        return Ok(Arc::new(ScalarFunctionExpr::new(
            call.name(),
            Arc::new(call.fun().clone()),
            call.args().to_vec(),
            Arc::clone(field),
            Arc::new(call.config_options().clone()),
        )));
    }
    internal_err!("{expr} has no field of its own")
}
