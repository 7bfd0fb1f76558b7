//! What DataFusion's bytes of a file scan leave out: which version of each file is meant, and in
//! which order a sort would like to see the rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, SortOrderPushdownResult};

use job::{FileCaching, StorageLevel};

use crate::proto;

fn file_scan(node: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    node.downcast_ref::<DataSourceExec>()?
        .data_source()
        .downcast_ref()
}

/// The versions of all files of a plan, each once, and how they are to be cached.
pub(super) fn file_versions(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<proto::FileVersion>> {
    let mut versions = BTreeMap::new();
    plan.apply(|node| {
        let groups = file_scan(node).map_or(&[][..], |scan| &scan.file_groups);
        for file in groups.iter().flat_map(|group| group.iter()) {
            let meta = &file.object_meta;
            let caching = file.extension::<FileCaching>().copied();
            if meta.e_tag.is_some() || meta.version.is_some() || caching.is_some() {
                let location = meta.location.as_ref();
                versions.entry(location).or_insert_with(|| {
                    let caching = caching.unwrap_or_default();
                    proto::FileVersion {
                        location: location.to_owned(),
                        e_tag: meta.e_tag.clone(),
                        version: meta.version.clone(),
                        storage_level: caching.level.map(|level| level.to_string()),
                        written_once: caching.written_once,
                    }
                });
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(versions.into_values().collect())
}

/// The plan with the versions put back into its scans.
pub(super) fn with_file_versions(
    plan: Arc<dyn ExecutionPlan>,
    versions: Vec<proto::FileVersion>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let versions: HashMap<String, proto::FileVersion> = versions
        .into_iter()
        .map(|file| (file.location.clone(), file))
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
                if let Some(version) = versions.get(file.object_meta.location.as_ref()) {
                    file.object_meta.e_tag.clone_from(&version.e_tag);
                    file.object_meta.version.clone_from(&version.version);
                    let caching = caching(version)?;
                    if caching != FileCaching::default() {
                        file.extensions.insert(caching);
                    }
                }
            }
        }
        Ok(Transformed::yes(DataSourceExec::from_data_source(scan) as _))
    })
    .data()
}

fn caching(version: &proto::FileVersion) -> Result<FileCaching> {
    let level = version.storage_level.as_deref().map(|name| {
        StorageLevel::parse(name)
            .ok_or_else(|| internal_datafusion_err!("\"{name}\" is not a storage level"))
    });
    Ok(FileCaching {
        level: level.transpose()?,
        written_once: version.written_once,
    })
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
