//! What DataFusion's bytes of a file scan leave out: which version of each file is meant, and in
//! which order a sort would like to see the rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, SortOrderPushdownResult};

use crate::proto;

fn file_scan(node: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    node.downcast_ref::<DataSourceExec>()?
        .data_source()
        .downcast_ref()
}

/// The versions of all files of a plan, each once.
pub(super) fn file_versions(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<proto::FileVersion>> {
    let mut versions = BTreeMap::new();
    plan.apply(|node| {
        let groups = file_scan(node).map_or(&[][..], |scan| &scan.file_groups);
        for file in groups.iter().flat_map(|group| group.iter()) {
            let meta = &file.object_meta;
            if meta.e_tag.is_some() || meta.version.is_some() {
                versions
                    .entry(meta.location.as_ref())
                    .or_insert_with(|| (meta.e_tag.clone(), meta.version.clone()));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(versions
        .into_iter()
        .map(|(location, (e_tag, version))| proto::FileVersion {
            location: location.to_owned(),
            e_tag,
            version,
        })
        .collect())
}

/// The plan with the versions put back into its scans.
pub(super) fn with_file_versions(
    plan: Arc<dyn ExecutionPlan>,
    versions: Vec<proto::FileVersion>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let versions: HashMap<String, (Option<String>, Option<String>)> = versions
        .into_iter()
        .map(|file| (file.location, (file.e_tag, file.version)))
        .collect();
    if versions.is_empty() {
        return Ok(plan);
    }
    plan.transform_up(|node| {
        let Some(scan) = file_scan(&node) else {
            return Ok(Transformed::no(node));
        };
        let mut scan = scan.clone();
        for group in &mut scan.file_groups {
            for index in 0..group.len() {
                let file = &mut group[index];
                if let Some((e_tag, version)) = versions.get(file.object_meta.location.as_ref()) {
                    file.object_meta.e_tag.clone_from(e_tag);
                    file.object_meta.version.clone_from(version);
                }
            }
        }
        Ok(Transformed::yes(DataSourceExec::from_data_source(scan) as _))
    })
    .data()
}

/// Tells scans again what the sender's optimizer told them: which rows a sort above wants first. A
/// TopK then sees the best row groups first, and its filter spares the others.
pub(super) fn with_wanted_orders(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let same = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    plan.transform_up(|node| {
        let Some(sort) = node.downcast_ref::<SortExec>() else {
            return Ok(Transformed::no(node));
        };
        // It needs the sort all the same. A scan that needs none comes without a sort above.
        match sort.input().try_pushdown_sort(sort.expr())? {
            SortOrderPushdownResult::Inexact { inner }
                if inner.output_ordering() == sort.input().output_ordering() =>
            {
                Ok(Transformed::yes(node.replace_children(vec![inner], same)?))
            }
            SortOrderPushdownResult::Inexact { .. }
            | SortOrderPushdownResult::Exact { .. }
            | SortOrderPushdownResult::Unsupported => Ok(Transformed::no(node)),
        }
    })
    .data()
}
