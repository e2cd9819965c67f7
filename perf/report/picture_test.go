package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestChartShowsEverySubjectAndRow(t *testing.T) {
	var svg bytes.Buffer
	if err := WriteChart(&svg, sample(), SVG); err != nil {
		t.Fatal(err)
	}
	text := xmlText(t, svg.Bytes())
	for _, want := range []string{Plain, Reference, Weft, "Gb/s", "kpps", "µs", rowTitle(RowGSO), rowTitle(RowSegmented)} {
		if !strings.Contains(text, want) {
			t.Errorf("the chart doesn't say %q", want)
		}
	}
}

func xmlText(t *testing.T, document []byte) string {
	t.Helper()
	var text strings.Builder
	tokens := xml.NewDecoder(bytes.NewReader(document))
	for {
		token, err := tokens.Token()
		if errors.Is(err, io.EOF) {
			return text.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		if chars, ok := token.(xml.CharData); ok {
			text.Write(chars)
		}
	}
}

func TestChartAsPNG(t *testing.T) {
	var picture bytes.Buffer
	if err := WriteChart(&picture, sample(), PNG); err != nil {
		t.Fatal(err)
	}
	got, err := png.Decode(&picture)
	if err != nil {
		t.Fatal(err)
	}
	blue := 0
	for x := range got.Bounds().Dx() {
		for y := range got.Bounds().Dy() {
			if r, g, b, _ := got.At(x, y).RGBA(); r>>8 == 0x1f && g>>8 == 0x77 && b>>8 == 0xb4 {
				blue++
			}
		}
	}
	if blue < 1000 {
		t.Errorf("%d pixels of the first row's bars: the chart is empty", blue)
	}
}

func TestChartOfNothingAndUnknownFormat(t *testing.T) {
	empty := sample()
	empty.Samples = nil
	if err := WriteChart(io.Discard, empty, SVG); !errors.Is(err, ErrEmpty) {
		t.Errorf("a run that was interrupted before its first sample: %v, want ErrEmpty", err)
	}
	odd := sample()
	odd.Samples = slices.DeleteFunc(odd.Samples, func(s Sample) bool { return s.Scenario != Latency })
	if err := WriteChart(io.Discard, odd, SVG); err != nil {
		t.Errorf("a run of one scenario: %v", err)
	}
	if err := WriteChart(io.Discard, sample(), "gif"); err == nil || !strings.Contains(err.Error(), `"gif"`) {
		t.Errorf("format gif: %v", err)
	}
}

func TestMarkdown(t *testing.T) {
	golden(t, "figures.md", []byte(Markdown(sample())))
}

func TestInsertReplacesOnlyBetweenMarkers(t *testing.T) {
	document := "# weft\n\n" + BeginMark + "\nold\n" + EndMark + "\n\nrest\n"
	got, err := Insert([]byte(document), "new\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := "# weft\n\n" + BeginMark + "\nnew\n" + EndMark + "\n\nrest\n"; string(got) != want {
		t.Errorf("got %q", got)
	}
	again, err := Insert(got, "new\n")
	if err != nil || !bytes.Equal(got, again) {
		t.Errorf("inserting twice changes the document: %q, %v", again, err)
	}
	for _, broken := range []string{"", BeginMark, EndMark + BeginMark} {
		if _, err := Insert([]byte(broken), "new"); !errors.Is(err, ErrMarkers) {
			t.Errorf("%q: %v, want ErrMarkers", broken, err)
		}
	}
}
