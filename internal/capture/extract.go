package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/holdfast-project/holdfast/packet"
)

// Pick is what to take out of one capture: frame numbers, each with a comment
// or "".
type Pick struct {
	File   string
	Frames map[int64]string
}

// Extract writes chosen frames of captures into one pcapng file, whole and with
// their interfaces, capture after capture and in each in their order. It returns
// how many it wrote; a frame that is not there any more is ErrChanged.
func Extract(ctx context.Context, w io.Writer, picks []Pick, open func(name string) (io.ReadCloser, error)) (frames int, err error) {
	out, err := packet.NewWriter(w, nil)
	if err != nil {
		return 0, err
	}
	for i := range picks {
		n, err := extractFrom(ctx, out, &picks[i], open)
		frames += n
		if err != nil {
			return frames, fmt.Errorf("extract from %s: %w", picks[i].File, err)
		}
	}
	return frames, nil
}

func extractFrom(ctx context.Context, out *packet.Writer, p *Pick, open func(string) (io.ReadCloser, error)) (n int, err error) {
	f, err := open(p.File)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r, err := packet.NewReader(f)
	if err != nil {
		return 0, err
	}
	interfaces := map[uint16]uint16{} // of the capture, to those of the extract
	var b packet.Batch
	for n < len(p.Frames) {
		err := r.ReadBatch(&b)
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		if damage := (*packet.DamageError)(nil); errors.Is(err, io.EOF) || errors.As(err, &damage) {
			return n, ErrChanged
		}
		if err != nil {
			return n, err
		}
		for i := range b.Records {
			comment, wanted := p.Frames[b.First+int64(i)]
			if !wanted {
				continue
			}
			rec := b.Records[i]
			if rec.Interface, err = interfaceIn(out, r, p, interfaces, rec.Interface); err != nil {
				return n, err
			}
			if err := out.Write(&rec, b.Frame(i), comment); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// interfaceIn returns the index in the extract of an interface of a capture,
// which it adds when it is not there. An interface without a description gets
// the name of its capture.
func interfaceIn(out *packet.Writer, r *packet.Reader, p *Pick, known map[uint16]uint16, index uint16) (uint16, error) {
	if to, ok := known[index]; ok {
		return to, nil
	}
	i := r.Interfaces()[index]
	if i.Description == "" {
		i.Description = filepath.Base(p.File)
	}
	to, err := out.AddInterface(i)
	known[index] = to
	return to, err
}
