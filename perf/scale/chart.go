package scale

import (
	"errors"
	"fmt"
	"image/color"
	"io"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"weft/perf/report"
)

// Sizes of the picture: two panels beside each other.
const (
	panelWidth  = 12 * vg.Centimeter
	panelHeight = 8 * vg.Centimeter
)

// lineColors tell the curves apart, also in print and for most colour-blind eyes.
var lineColors = []color.Color{
	color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}, color.RGBA{R: 0xff, G: 0x9f, B: 0x4a, A: 0xff},
	color.RGBA{R: 0x2c, G: 0xa0, B: 0x2c, A: 0xff}, color.RGBA{R: 0x55, G: 0x55, B: 0x55, A: 0xff},
}

// WriteChart draws how many agents had applied a change, and had a lease, after how long. picture is
// report.SVG or report.PNG.
func (r *Result) WriteChart(w io.Writer, picture string) error {
	var starts []Spread
	for _, s := range r.Starts {
		s.Acquired.Name = s.Name
		starts = append(starts, s.Acquired)
	}
	var changes []Spread
	for _, c := range r.Changes {
		if len(c.Quantiles) > 0 && c.Name != "all changes" {
			changes = append(changes, c)
		}
	}
	left, err := curves("From a change to its application at every agent", changes)
	if err != nil {
		return err
	}
	right, err := curves(fmt.Sprintf("Start of %d agents at once: who has a lease", r.Hosts), starts)
	if err != nil {
		return err
	}
	return paint(w, picture, left, right)
}

// curves draws the share of agents over the time that they took.
func curves(title string, all []Spread) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, "ms", "% of agents"
	p.X.Min, p.Y.Min, p.Y.Max = 0, 0, 100
	p.Add(plotter.NewGrid())
	for i, s := range all {
		points := make(plotter.XYs, len(s.Quantiles))
		for percent, v := range s.Quantiles {
			points[percent] = plotter.XY{X: v, Y: float64(percent)}
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return nil, fmt.Errorf("drawing %s: %w", s.Name, err)
		}
		line.Color, line.Width = lineColors[i%len(lineColors)], vg.Points(1.5)
		p.Add(line)
		p.Legend.Add(s.Name, line)
	}
	p.Legend.Top = false
	return p, nil
}

// paint puts the panels beside each other.
func paint(w io.Writer, picture string, panels ...*plot.Plot) error {
	width := panelWidth * vg.Length(len(panels))
	var canvas interface {
		vg.CanvasSizer
		io.WriterTo
	}
	switch picture {
	case report.SVG:
		canvas = vgsvg.New(width, panelHeight)
	case report.PNG:
		canvas = vgimg.PngCanvas{Canvas: vgimg.New(width, panelHeight)}
	default:
		return errors.New("drawing a chart: use svg or png")
	}
	area := draw.New(canvas)
	area.SetColor(color.White)
	area.Fill(area.Rectangle.Path())
	for i, p := range panels {
		left := panelWidth * vg.Length(i)
		p.Draw(draw.Crop(area, left, left+panelWidth-width, 0, 0))
	}
	if _, err := canvas.WriteTo(w); err != nil {
		return fmt.Errorf("writing a chart: %w", err)
	}
	return nil
}
