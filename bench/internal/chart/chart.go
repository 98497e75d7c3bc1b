// Package chart draws the charts of the benchmarks.
//
// A chart has one panel or more, one above another. A panel has horizontal bars with their values
// at the end, so that it needs no axis. A thin line shows the range of the rounds.
package chart

import (
	"bytes"
	"image/color"
	"math"
	"os"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A Panel is the drawing of one scenario.
type Panel struct {
	Title, Caption string
	Bars           []Bar // from the top
	Format         func(value float64) string
}

// A Bar is the value of one contender, with the least and the greatest of the rounds.
type Bar struct {
	Name               string
	Value, Least, Most float64
	Ours               bool // belongs to this library
}

// Sizes in points. The width is about that of a page on a code host.
const (
	width       = 600
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

// Write draws the panels one above another into an SVG file.
func Write(path string, panels []Panel) error {
	height := vg.Length(2*margin - panelGap)
	for _, p := range panels {
		height += p.height() + panelGap
	}
	canvas := vgsvg.New(width, height)
	c := draw.New(canvas)
	c.FillPolygon(paper,
		[]vg.Point{{X: 0, Y: 0}, {X: width, Y: 0}, {X: width, Y: height}, {X: 0, Y: height}})
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

func (p Panel) height() vg.Length {
	return headHeight + vg.Length(len(p.Bars))*barPitch
}

// draw draws the panel below top.
func (p Panel) draw(c draw.Canvas, top vg.Length) {
	c.FillText(style(titleSize, ink, font.Font{Weight: xfont.WeightBold}),
		vg.Point{X: margin, Y: top - 14}, p.Title)
	c.FillText(style(captionSize, faint, font.Font{}), vg.Point{X: margin, Y: top - 29}, p.caption())
	for i, b := range p.Bars {
		middle := top - headHeight - vg.Length(i)*barPitch
		left := vg.Length(margin + nameWidth)
		bold, fill := font.Font{}, peerBar
		if b.Ours {
			bold, fill = font.Font{Weight: xfont.WeightBold}, ourBar
		}
		name := style(labelSize, ink, bold)
		name.YAlign = text.YCenter
		c.FillText(name, vg.Point{X: margin, Y: middle}, b.Name)

		end := left + max(1, p.length(b.Value))
		c.FillPolygon(fill, []vg.Point{
			{X: left, Y: middle - barHeight/2.0}, {X: end, Y: middle - barHeight/2.0},
			{X: end, Y: middle + barHeight/2.0}, {X: left, Y: middle + barHeight/2.0},
		})
		most := left + max(1, p.length(b.Most))
		c.StrokeLine2(draw.LineStyle{Color: whisker, Width: 1}, left+p.length(b.Least), middle, most, middle)
		value := style(labelSize, ink, bold)
		value.YAlign = text.YCenter
		c.FillText(value, vg.Point{X: max(end, most) + 5, Y: middle}, p.Format(b.Value))
	}
}

// caption returns the caption, with a word on the scale if that is not linear.
func (p Panel) caption() string {
	if p.logarithmic() {
		return p.Caption + "; the scale is logarithmic"
	}
	return p.Caption
}

// length scales a value to the width for bars.
func (p Panel) length(v float64) vg.Length {
	const room = width - 2*margin - nameWidth - valueWidth
	least, most := p.bounds()
	if !p.logarithmic() {
		return vg.Length(max(0, v) / most * room)
	}
	start := math.Pow(10, math.Floor(math.Log10(least/1.5))) // a power of ten below all
	return vg.Length(math.Log(max(v, start)/start) / math.Log(most/start) * room)
}

// logarithmic reports whether a linear scale would hide the small values.
func (p Panel) logarithmic() bool {
	least, most := p.bounds()
	return most/least > 60
}

// bounds returns the least positive value and the greatest value.
func (p Panel) bounds() (least, most float64) {
	least, most = math.Inf(1), 1e-9
	for _, b := range p.Bars {
		if b.Least > 0 {
			least = min(least, b.Least)
		}
		most = max(most, b.Most)
	}
	return min(least, most), most
}

var fonts = font.NewCache(liberation.Collection())

// style returns a sans-serif style of the given size.
func style(size font.Length, c color.Color, f font.Font) draw.TextStyle {
	f.Typeface, f.Variant, f.Size = "Liberation", "Sans", size
	return draw.TextStyle{Color: c, Font: f, Handler: text.Plain{Fonts: fonts}}
}
