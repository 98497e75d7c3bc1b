package main

import (
	"fmt"
	"math"
	"slices"
)

// A metric is a value that a scenario measures.
type metric struct {
	name string
	unit unit
}

// A unit says how to format a value.
type unit int

const (
	nanoseconds unit = iota // a duration
	perSecond               // a rate
	count                   // of something, per operation
	bytesKept               // memory
	share                   // a part of a fair share, 1 being exact
)

// allocations is the second metric of each timed scenario.
var allocations = metric{"allocations", count}

// moreIsBetter reports whether greater values are better.
func (u unit) moreIsBetter() bool { return u == perSecond || u == share }

// format formats a value with two or three significant digits.
func (u unit) format(v float64) string {
	if !finite(v) {
		return "–"
	}
	switch u {
	case nanoseconds:
		switch {
		case v < 1e3:
			return significant(v) + " ns"
		case v < 1e6:
			return significant(v/1e3) + " µs"
		case v < 1e9:
			return significant(v/1e6) + " ms"
		}
		return significant(v/1e9) + " s"
	case perSecond:
		if v < 1e4 {
			return significant(v) + "/s"
		}
		return significant(v/1e3) + "k/s"
	case bytesKept:
		switch {
		case math.Abs(v) < 1<<10:
			return significant(v) + " B"
		case math.Abs(v) < 1<<20:
			return significant(v/(1<<10)) + " KiB"
		}
		return significant(v/(1<<20)) + " MiB"
	case count:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// significant formats a value with two digits below 10 and as a whole number from there on.
func significant(v float64) string {
	if math.Abs(v) < 9.95 && v != math.Trunc(v) {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// formatRatio formats a ratio.
func formatRatio(r float64) string {
	switch {
	case !finite(r):
		return "–"
	case r < 9.95:
		return fmt.Sprintf("%.2f×", r)
	}
	return fmt.Sprintf("%.0f×", r)
}

// median returns the median of the values, or NaN if there are none.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(slices.DeleteFunc(slices.Clone(values), math.IsNaN)))
	n := len(sorted)
	switch {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// quantile returns the q-quantile of sorted values.
func quantile(sorted []int64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))])
}

// finite reports whether v is neither infinite nor NaN.
func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
