package report

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Pictures that [WriteChart] can make.
const (
	SVG = "svg"
	PNG = "png"
)

// A panel is one small chart: one figure, a bar per subject and wire row.
type panel struct {
	column Column
	title  string
}

// panels are the questions that a reader has, one picture each; those without an answer are left out.
func (r *Run) panels() []panel {
	ask := []struct {
		scenario string
		metric   Metric
		title    string
	}{
		{TCP1, Gbps, "One TCP stream (more is better)"},
		{UDP64, PPS, "64-byte packets received (more is better)"},
		{Latency, P50, "Latency, median (less is better)"},
		{TCP1, TotalCPU, "CPU of the whole machine (less is better)"},
	}
	var found []panel
	for _, a := range ask {
		for _, c := range Columns() {
			asked := c.Scenario == a.scenario && c.Metric == a.metric
			if asked && slices.ContainsFunc(r.Rows(), func(row string) bool { return slices.Contains(r.filled(row), c) }) {
				found = append(found, panel{c, a.title})
			}
		}
	}
	return found
}

// Sizes of the picture: two panels beside each other stay readable in a README column.
const (
	panelWidth  = 12 * vg.Centimeter
	panelHeight = 8 * vg.Centimeter
	barWidth    = 7    // points: two rows of 16 subjects fit
	legendRoom  = 1.25 // the axis goes on above the highest bar, where the legend is
)

// rowColors tell the wire rows apart, also in print and for most colour-blind eyes.
var rowColors = map[string]color.Color{
	RowGSO:       color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff},
	RowSegmented: color.RGBA{R: 0xff, G: 0x9f, B: 0x4a, A: 0xff},
}

// ErrEmpty: the run has no sample that a chart could show.
var ErrEmpty = errors.New("nothing to draw: the run has no TCP, 64-byte or latency samples")

// WriteChart draws the medians, with the smallest and largest round as whiskers, as an SVG or PNG.
func WriteChart(w io.Writer, r *Run, picture string) error {
	panels := r.panels()
	if len(panels) == 0 {
		return ErrEmpty
	}
	tiles := draw.Tiles{
		Cols: min(len(panels), 2), Rows: (len(panels) + 1) / 2,
		PadX: vg.Centimeter / 2, PadY: vg.Centimeter / 2,
		PadTop: vg.Centimeter / 4, PadBottom: vg.Centimeter / 4, PadLeft: vg.Centimeter / 4, PadRight: vg.Centimeter / 4,
	}
	canvas, err := newCanvas(picture, panelWidth*vg.Length(tiles.Cols), panelHeight*vg.Length(tiles.Rows))
	if err != nil {
		return err
	}
	plots := make([][]*plot.Plot, tiles.Rows)
	for i := range plots {
		plots[i] = make([]*plot.Plot, tiles.Cols) // an odd number leaves the last place empty
	}
	for i, p := range panels {
		if plots[i/2][i%2], err = r.draw(p); err != nil {
			return fmt.Errorf("drawing chart %q: %w", p.title, err)
		}
	}
	for i, row := range plot.Align(plots, tiles, draw.New(canvas)) {
		for j, place := range row {
			if plots[i][j] != nil {
				plots[i][j].Draw(place)
			}
		}
	}
	_, err = canvas.WriteTo(w)
	return err
}

// canvas is what gonum draws on and can write out.
type canvas interface {
	vg.CanvasSizer
	io.WriterTo
}

// newCanvas makes a page of that size, in points, for a format.
func newCanvas(picture string, width, height vg.Length) (canvas, error) {
	switch picture {
	case SVG:
		return vgsvg.New(width, height), nil
	case PNG:
		return vgimg.PngCanvas{Canvas: vgimg.New(width, height)}, nil
	}
	return nil, fmt.Errorf("drawing a chart: format %q: use svg or png", picture)
}

// draw makes one panel: a group of bars per subject, in the tables' order, the axis from 0, so that a
// bar twice as long is a figure twice as large.
func (r *Run) draw(p panel) (*plot.Plot, error) {
	chart := plot.New()
	chart.Title.Text, chart.Title.Padding = p.title, vg.Points(4)
	chart.Y.Label.Text = p.column.Unit
	chart.Y.Min = 0
	chart.Legend.Top = true
	chart.Add(plotter.NewGrid())
	rows := r.Rows()
	for i, row := range rows {
		offset := vg.Length(float64(i)-float64(len(rows)-1)/2) * vg.Points(barWidth)
		if err := r.addBars(chart, p.column, row, offset); err != nil {
			return nil, err
		}
	}
	var names []string
	for _, s := range r.Subjects {
		names = append(names, s.Name)
	}
	chart.NominalX(names...)
	chart.X.Min, chart.X.Max = -0.6, float64(len(names))-0.4 // NominalX ends at the middle of the outer bars
	chart.Y.Max *= legendRoom
	chart.X.Tick.Label.Rotation = 0.5 // radians: subject names are wider than their bars
	chart.X.Tick.Label.XAlign, chart.X.Tick.Label.YAlign = draw.XRight, draw.YCenter
	return chart, nil
}

// addBars adds one wire row's bars and whiskers, moved aside by offset.
func (r *Run) addBars(chart *plot.Plot, c Column, row string, offset vg.Length) error {
	values := make(plotter.Values, len(r.Subjects))
	whiskers := spreads{}
	for i, s := range r.Subjects {
		spread := r.Spread(c.Of(row, s.Name))
		if !spread.Known() {
			continue // no bar: a missing figure must not look like a small one
		}
		values[i] = spread.Median / c.Scale
		whiskers.XYs = append(whiskers.XYs, plotter.XY{X: float64(i), Y: values[i]})
		whiskers.YErrors = append(whiskers.YErrors, struct{ Low, High float64 }{
			(spread.Median - spread.Min) / c.Scale, (spread.Max - spread.Median) / c.Scale})
	}
	if len(whiskers.XYs) == 0 {
		return nil
	}
	bars, err := plotter.NewBarChart(values, vg.Points(barWidth))
	if err != nil {
		return err
	}
	bars.Color, bars.LineStyle.Width, bars.Offset = rowColors[row], 0, offset
	noise, err := plotter.NewYErrorBars(whiskers)
	if err != nil {
		return err
	}
	chart.Add(bars, shifted{noise, offset})
	chart.Legend.Add(rowTitle(row), bars)
	return nil
}

// spreads is what plotter.NewYErrorBars wants: points with their errors.
type spreads struct {
	plotter.XYs
	plotter.YErrors
}

// shifted draws a plotter moved aside, as bars of one group are, which error bars can't by themselves.
type shifted struct {
	*plotter.YErrorBars
	by vg.Length
}

// Plot implements plot.Plotter.
func (s shifted) Plot(c draw.Canvas, p *plot.Plot) {
	c.Push()
	defer c.Pop()
	c.Translate(vg.Point{X: s.by})
	s.YErrorBars.Plot(c, p)
}
