package report

import (
	"fmt"
	"image/color"
	"io"

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

// panels are the questions that a reader has, one picture each.
func panels() [][]panel {
	column := func(scenario string, m Metric) Column {
		for _, c := range Columns() {
			if c.Scenario == scenario && c.Metric == m {
				return c
			}
		}
		return Column{}
	}
	return [][]panel{
		{{column(TCP1, Gbps), "One TCP stream (more is better)"}, {column(UDP64, PPS), "64-byte packets received (more is better)"}},
		{{column(Latency, P50), "Latency, median (less is better)"}, {column(TCP1, TotalCPU), "CPU of the whole machine (less is better)"}},
	}
}

// Sizes of the picture: two panels beside each other stay readable in a README column.
const (
	panelWidth  = 12 * vg.Centimeter
	panelHeight = 8 * vg.Centimeter
	barWidth    = 9 // points
)

// rowColors tell the wire rows apart, also in print and for most colour-blind eyes.
var rowColors = map[string]color.Color{
	RowGSO:       color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff},
	RowSegmented: color.RGBA{R: 0xff, G: 0x9f, B: 0x4a, A: 0xff},
}

// WriteChart draws the medians, with the smallest and largest round as whiskers, as an SVG or PNG.
func WriteChart(w io.Writer, r *Run, picture string) error {
	rows := panels()
	width, height := panelWidth*vg.Length(len(rows[0])), panelHeight*vg.Length(len(rows))
	var canvas interface {
		vg.CanvasSizer
		io.WriterTo
	}
	switch picture {
	case SVG:
		canvas = vgsvg.New(width, height)
	case PNG:
		canvas = vgimg.PngCanvas{Canvas: vgimg.New(width, height)}
	default:
		return fmt.Errorf("drawing a chart: format %q: use svg or png", picture)
	}
	plots := make([][]*plot.Plot, len(rows))
	for i, row := range rows {
		for _, p := range row {
			drawn, err := r.draw(p)
			if err != nil {
				return fmt.Errorf("drawing chart %q: %w", p.title, err)
			}
			plots[i] = append(plots[i], drawn)
		}
	}
	tiles := draw.Tiles{Rows: len(rows), Cols: len(rows[0]), PadX: vg.Centimeter / 2, PadY: vg.Centimeter / 2,
		PadTop: vg.Centimeter / 4, PadBottom: vg.Centimeter / 4, PadLeft: vg.Centimeter / 4, PadRight: vg.Centimeter / 4}
	for i, row := range plot.Align(plots, tiles, draw.New(canvas)) {
		for j, place := range row {
			plots[i][j].Draw(place)
		}
	}
	_, err := canvas.WriteTo(w)
	return err
}

// draw makes one panel.
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
