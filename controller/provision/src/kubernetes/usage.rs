//! What instances use, where the cluster measures it (`metrics.k8s.io`, as metrics-server and others serve it).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::cluster::Cluster;
use super::names::GROUP;
use super::objects::Meta;
use super::view::View;
use crate::InstanceUsage;

#[derive(Debug, Deserialize)]
struct PodMetrics {
    metadata: Meta,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Debug, Deserialize)]
struct ContainerMetrics {
    #[serde(default)]
    usage: BTreeMap<String, String>,
}

/// Of the pods of a view. Empty where the cluster measures nothing or does not say: instances are seen without it.
pub(super) async fn read(cluster: &Cluster, view: &View) -> Vec<InstanceUsage> {
    let path = cluster.path("apis/metrics.k8s.io/v1beta1", "pods");
    let metrics = cluster.list::<PodMetrics>("read metrics of pods", &path, GROUP).await.unwrap_or_default();
    let members = view.members.values().flatten();
    let ids: BTreeMap<&str, &str> =
        members.map(|member| (member.pod.metadata.name.as_str(), member.instance.id.as_str())).collect();
    let used = metrics.iter().filter_map(|pod| {
        let id = (*ids.get(pod.metadata.name.as_str())?).to_owned();
        // What is measured in part is not measured: it would be told as using less than it does.
        let sum = |name: &str| -> Option<f64> {
            pod.containers.iter().map(|container| quantity(container.usage.get(name)?)).sum()
        };
        let (cpu, memory) = (sum("cpu")?, sum("memory")?);
        let is_measured = !pod.containers.is_empty();
        is_measured.then(|| InstanceUsage { id, cpu_milli: cpu * 1e3, memory_mib: memory / (1024.0 * 1024.0) })
    });
    used.collect()
}

/// A Kubernetes quantity as a number: `250m`, `1.5Gi`, `12345678n`, `1e3`. `None` for what is none.
pub(super) fn quantity(text: &str) -> Option<f64> {
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(number);
    }
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(number.len()..)? {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_all_their_units() {
        let read = ["2", "250m", "1Ki", "1.5Gi", "1500000n", "1e3", "3M"].map(quantity);
        let expected = [2.0, 0.25, 1024.0, 1.5 * 1024f64.powi(3), 0.0015, 1000.0, 3e6].map(Some);
        assert!(read.iter().zip(&expected).all(|(read, expected)| {
            read.zip(*expected).is_some_and(|(read, expected)| (read - expected).abs() <= expected * 1e-12)
        }));
        assert_eq!(["", "m", "1Zi", "inf", "NaN"].map(quantity), [None; 5]);
    }
}
