package main

import (
	"bytes"
	"image/color"
	"math"
	"os"
	"slices"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A chart has one panel or more, one above another. A panel has horizontal bars with their values
// at the end, so that it needs no axis. A thin line shows the range of the rounds.

// A panel is the drawing of one scenario.
type panel struct {
	title, caption string
	unit           unit
	bars           []bar
}

type bar struct {
	name               string
	value, least, most float64
	mine               bool
}

// newPanel returns the panel of the first metric, best row on top. Unless only is nil, it has only
// the rows named there.
func newPanel(r result, only []string) panel {
	m := r.metrics[0]
	p := panel{title: capital(r.title), caption: m.caption(), unit: m.unit}
	for _, row := range r.ranking() {
		if row.err != nil || row.name == noLockName || only != nil && !slices.Contains(only, row.name) {
			continue
		}
		values := row.values(0)
		if value := median(values); finite(value) && finite(slices.Max(values)) {
			p.bars = append(p.bars, bar{row.name, value, slices.Min(values), slices.Max(values), row.mine})
		}
	}
	if p.logarithmic() {
		p.caption += "; the scale is logarithmic"
	}
	return p
}

// caption says what the bars show and which direction is better.
func (m metric) caption() string {
	switch m.unit {
	case perSecond:
		return m.name + " a second, more is better"
	case share:
		return m.name + ", more is better"
	case bytesKept:
		return m.name + ", less is better"
	}
	if m.name == "time" {
		return "time for each acquisition and release, less is better"
	}
	return m.name + ", less is better"
}

// overviewName is the name of the chart that summarises the others.
const overviewName = "overview"

// overview returns panels of the best-known locks in the most important scenarios.
func overview(results []result) []panel {
	var panels []panel
	for _, choice := range []struct {
		key  string
		rows []string
	}{
		{"hot", []string{ourLock, "sync.Mutex", "moby Locker", "containerd kmutex", "sync.Map + Mutex"}},
		{"new-parallel", []string{
			ourLock, "moby Locker", "containerd kmutex", "sync.Map + Mutex", "weak pointers",
		}},
		{"waits", []string{ourLock, "sync.Mutex", "moby Locker", "containerd kmutex", "sync.Map + Mutex"}},
		{"file-uncontended", []string{ourFile, "gofrs/flock", "lockedfile", "juju/mutex", "oslo.concurrency"}},
		{"file-handover", []string{ourFile, blocking, polling, "lockedfile"}},
	} {
		if i := slices.IndexFunc(results, func(r result) bool { return r.key == choice.key }); i >= 0 {
			panels = append(panels, newPanel(results[i], choice.rows))
		}
	}
	return panels
}

// Sizes in points. The width is about that of a page on a code host.
const (
	chartWidth  = 600
	margin      = 14
	nameWidth   = 192 // names begin at the left edge, which leaves room for a wider font
	valueWidth  = 62
	barHeight   = 11
	barPitch    = 19
	headHeight  = 44
	panelGap    = 12
	titleSize   = 13
	captionSize = 9.5
	labelSize   = 10
)

var (
	paper   = color.NRGBA{0xff, 0xff, 0xff, 0xff}
	ink     = color.NRGBA{0x1f, 0x29, 0x33, 0xff}
	faint   = color.NRGBA{0x6b, 0x77, 0x85, 0xff}
	ourBar  = color.NRGBA{0x1f, 0x78, 0xb4, 0xff}
	peerBar = color.NRGBA{0xc3, 0xcc, 0xd6, 0xff}
	whisker = color.NRGBA{0x7d, 0x89, 0x96, 0xff}
)

// writeChart draws the panels one above another into an SVG file.
func writeChart(path string, panels []panel) error {
	height := vg.Length(2*margin - panelGap)
	for _, p := range panels {
		height += p.height() + panelGap
	}
	canvas := vgsvg.New(chartWidth, height)
	c := draw.New(canvas)
	c.FillPolygon(paper,
		[]vg.Point{{X: 0, Y: 0}, {X: chartWidth, Y: 0}, {X: chartWidth, Y: height}, {X: 0, Y: height}})
	top := height - margin
	for _, p := range panels {
		p.draw(c, top)
		top -= p.height() + panelGap
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// A viewer without the font uses one of the same widths.
	return os.WriteFile(path, bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans"),
		[]byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif")), 0o644)
}

func (p panel) height() vg.Length {
	return headHeight + vg.Length(len(p.bars))*barPitch
}

// draw draws the panel below top.
func (p panel) draw(c draw.Canvas, top vg.Length) {
	c.FillText(style(titleSize, ink, font.Font{Weight: xfont.WeightBold}),
		vg.Point{X: margin, Y: top - 14}, p.title)
	c.FillText(style(captionSize, faint, font.Font{}), vg.Point{X: margin, Y: top - 29}, p.caption)
	for i, b := range p.bars {
		middle := top - headHeight - vg.Length(i)*barPitch
		left := vg.Length(margin + nameWidth)
		bold, fill := font.Font{}, peerBar
		if b.mine {
			bold, fill = font.Font{Weight: xfont.WeightBold}, ourBar
		}
		name := style(labelSize, ink, bold)
		name.YAlign = text.YCenter
		c.FillText(name, vg.Point{X: margin, Y: middle}, b.name)

		end := left + max(1, p.length(b.value))
		c.FillPolygon(fill, []vg.Point{
			{X: left, Y: middle - barHeight/2.0}, {X: end, Y: middle - barHeight/2.0},
			{X: end, Y: middle + barHeight/2.0}, {X: left, Y: middle + barHeight/2.0},
		})
		most := left + max(1, p.length(b.most))
		c.StrokeLine2(draw.LineStyle{Color: whisker, Width: 1}, left+p.length(b.least), middle, most, middle)
		value := style(labelSize, ink, bold)
		value.YAlign = text.YCenter
		c.FillText(value, vg.Point{X: max(end, most) + 5, Y: middle}, p.unit.format(b.value))
	}
}

// length scales a value to the width for bars.
func (p panel) length(v float64) vg.Length {
	const room = chartWidth - 2*margin - nameWidth - valueWidth
	least, most := p.bounds()
	if !p.logarithmic() {
		return vg.Length(max(0, v) / most * room)
	}
	start := math.Pow(10, math.Floor(math.Log10(least/1.5))) // a power of ten below all
	return vg.Length(math.Log(max(v, start)/start) / math.Log(most/start) * room)
}

// logarithmic reports whether a linear scale would hide the small values.
func (p panel) logarithmic() bool {
	least, most := p.bounds()
	return most/least > 60
}

// bounds returns the least positive value and the greatest value.
func (p panel) bounds() (least, most float64) {
	least, most = math.Inf(1), 1e-9
	for _, b := range p.bars {
		if b.least > 0 {
			least = min(least, b.least)
		}
		most = max(most, b.most)
	}
	return min(least, most), most
}

var fonts = font.NewCache(liberation.Collection())

// style returns a sans-serif style of the given size.
func style(size font.Length, c color.Color, f font.Font) draw.TextStyle {
	f.Typeface, f.Variant, f.Size = "Liberation", "Sans", size
	return draw.TextStyle{Color: c, Font: f, Handler: text.Plain{Fonts: fonts}}
}
