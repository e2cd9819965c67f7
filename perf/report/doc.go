// Package report is what a benchmark run leaves: every raw figure of every round, and what is read
// out of them — medians, ratios, a table, a chart, a comparison of two runs, a verdict on each goal.
// It measures nothing and touches no network; everything here is a pure function of a [Run].
//
//	perf ──Sample, Sample, …──▶ Run ──▶ JSON ◀──▶ Run
//	                             ├──▶ WriteTable     medians, and ratios to the reference subject
//	                             ├──▶ WriteChart     SVG or PNG
//	                             ├──▶ Markdown       the README's figures, between two markers
//	                             ├──▶ Goals          asked beside reached
//	                             └──▶ Compare        with another Run
//
// The rule behind all of it: an absolute figure says little on a shared machine, which drifts by a
// third within the hour. Ratios are taken between samples of one round, which ran within a minute of
// each other; the median of those is reported, and their smallest and largest as the noise. That is
// not the ratio of the medians, and it is steadier.
//
// Concurrency: a Run isn't locked. One goroutine adds samples; once it is complete anyone may read.
package report
