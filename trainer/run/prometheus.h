// The newest values of a run as a file for Prometheus, by way of node_exporter's textfile collector: a gauge each,
// named retain_ and the name of metrics.jsonl with _ for what Prometheus does not know. Pure.
#pragma once

#include <map>
#include <string>

namespace retain {

/// "# TYPE retain_valid_book_loss gauge\nretain_valid_book_loss{run=\"/runs/demo\"} 2.5\n…", in the order of the names.
/// Source: prometheus.io/docs/instrumenting/exposition_formats (text format 0.0.4).
std::string prometheus_text(const std::string& run, const std::map<std::string, double>& values);

}  // namespace retain
