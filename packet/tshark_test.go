package packet

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// captures is where public captures lie beside the repository; they are not part of it.
const captures = "../../shared/captures:../../shared/captures-new"

var tsharkFields = []string{
	"frame.number", "frame.time_epoch", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport",
	"tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.window_size_value", "tcp.len", "ip.ttl", "ipv6.hlim", "ip.id",
	"tcp.option_kind", "tcp.payload", "ip.flags.df", "tcp.hdr_len", "tcp.options.mss_val", "tcp.options.timestamp.tsval",
	"tcp.options.timestamp.tsecr", "tcp.options.wscale.shift", "tcp.urgent_pointer", "frame.protocols",
}

// TestTshark compares every frame with what tshark says.
func TestTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	dirs, named := captures, false
	if d := os.Getenv("HOLDFAST_CAPTURES"); d != "" {
		dirs, named = d, true
	}
	var files []string
	for _, dir := range filepath.SplitList(dirs) {
		list, _ := filepath.Glob(filepath.Join(dir, "*.pcap*"))
		more, _ := filepath.Glob(filepath.Join(dir, "*.cap"))
		if list = append(list, more...); len(list) == 0 && named {
			t.Fatalf("HOLDFAST_CAPTURES names %s, and there are no captures", dir)
		}
		files = append(files, list...)
	}
	if len(files) == 0 {
		t.Skipf("no captures in %s (set HOLDFAST_CAPTURES)", dirs)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			t.Parallel()
			compareWithTshark(t, tshark, f)
		})
	}
}

func compareWithTshark(t *testing.T, tshark, file string) {
	ours, cut := decodeFile(t, file)
	args := []string{"-r", file, "-Y", "tcp", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=|",
		"-o", "tcp.relative_sequence_numbers:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE", "-o", "tcp.check_checksum:FALSE"}
	for _, f := range tsharkFields {
		args = append(args, "-e", f)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(tshark, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && !cut {
		t.Fatalf("tshark: %v: %s", err, &stderr)
	}
	seen := 0
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 64<<20)
	bad := 0
	for sc.Scan() {
		v := strings.Split(sc.Text(), "\t")
		n, _ := strconv.ParseInt(v[0], 10, 64)
		got, ok := ours[n]
		if !ok {
			if bad++; bad < 10 {
				t.Errorf("frame %d: tshark has TCP, we have none: %v", n, v[:8])
			}
			continue
		}
		seen++
		want := tsharkLine(v)
		if strings.Contains(got, cutOptions) { // tshark lists those that are left
			got, _, _ = strings.Cut(got, cutOptions)
			want = want[:min(len(want), len(got))]
		}
		if got != want && got != notice {
			if bad++; bad < 10 {
				t.Errorf("frame %d:\n got %s\nwant %s", n, got, want)
			}
		}
		delete(ours, n)
	}
	for n, got := range ours {
		if got == notice { // tshark shows no TCP when less than a header is quoted
			continue
		}
		if bad++; bad < 10 {
			t.Errorf("frame %d: tshark has no TCP, we have %s", n, got)
		}
	}
	t.Logf("%d frames agree, %d differ", seen, bad)
}

const (
	notice     = "an ICMP error"
	cutOptions = " opts=cut"
)

// decodeFile returns a line for each TCP segment, by frame.
func decodeFile(t *testing.T, file string) (lines map[int64]string, cut bool) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	var d Decoder
	var s Segment
	lines = map[int64]string{}
	for {
		err := r.ReadBatch(&b)
		var damage *DamageError
		if errors.As(err, &damage) {
			t.Logf("%v", damage)
			return lines, true
		}
		if err == io.EOF {
			return lines, false
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Records {
			s.Frame = b.First + int64(i)
			kind := d.Decode(&b.Records[i], b.Frame(i), &s)
			if h, ok := d.FlowHash(&b.Records[i], b.Frame(i)); ok && kind == TCP && h != s.FlowHash() {
				t.Errorf("frame %d: FlowHash of the frame %x, of the segment %x", s.Frame, h, s.FlowHash())
			}
			switch kind {
			case TCP:
				lines[s.Frame] = line(&s)
			case ICMP: // tshark shows the TCP that it quotes
				lines[s.Frame] = notice
			}
		}
	}
}

// line writes what is compared.
func line(s *Segment) string {
	payload := s.Payload[:min(len(s.Payload), 16)]
	if s.Flags&(RST|SYN) != 0 { // tshark has no tcp.payload there
		payload = nil
	}
	df := 0
	if s.DF {
		df = 1
	}
	if s.V6 {
		df = 0
	}
	l := fmt.Sprintf("%d %s:%d>%s:%d seq=%d ack=%d flags=%03x win=%d len=%d ttl=%d id=%04x df=%d hdr=%d urg=%d opts=%08x data=%x",
		s.Time, s.Src.Netip(), s.SrcPort, s.Dst.Netip(), s.DstPort, s.Seq, s.Ack, uint16(s.Flags), s.Window, s.Length, s.TTL, s.IPID, df,
		s.HeaderSize, s.Urgent, s.OptionHash, payload)
	if s.HeaderSize > 20 && s.OptionHash == 0 {
		l, _, _ = strings.Cut(l, " opts=")
		return l + cutOptions
	}
	if s.Options&OptMSS != 0 {
		l += fmt.Sprintf(" mss=%d", s.MSS)
	}
	if s.Options&OptTimestamp != 0 {
		l += fmt.Sprintf(" ts=%d/%d", s.TSVal, s.TSEcr)
	}
	if s.Options&OptScale != 0 {
		l += fmt.Sprintf(" scale=%d", s.Scale)
	}
	return l
}

// tsharkLine writes the same from fields: of several IP headers the last one counts.
func tsharkLine(v []string) string {
	f := map[string]string{}
	for i, name := range tsharkFields {
		if f[name] = v[i]; name != "tcp.option_kind" {
			f[name] = v[i][strings.LastIndexByte(v[i], '|')+1:]
		}
	}
	num := func(name string) uint64 {
		n, err := strconv.ParseUint(f[name], 0, 64)
		if err != nil {
			n, _ = strconv.ParseUint(f[name], 10, 64)
		}
		return n
	}
	sec, frac, _ := strings.Cut(f["frame.time_epoch"], ".")
	t, _ := strconv.ParseInt(sec, 10, 64)
	ns, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	src, dst, ttl := f["ip.src"], f["ip.dst"], num("ip.ttl")
	protocols := ":" + f["frame.protocols"]
	if v6 := strings.LastIndex(protocols, ":ipv6"); v6 >= 0 && v6 > strings.LastIndex(protocols, ":ip:") {
		src, dst, ttl = f["ipv6.src"], f["ipv6.dst"], num("ipv6.hlim")
	}
	id := num("ip.id")
	if strings.Contains(src, ":") {
		id = 0
	}
	a, _ := netip.ParseAddr(src)
	b, _ := netip.ParseAddr(dst)
	df := 0
	if v := f["ip.flags.df"]; (v == "1" || v == "True") && strings.Contains(src, ".") {
		df = 1
	}
	var hash uint32
	if kinds := f["tcp.option_kind"]; kinds != "" {
		var list []byte
		for k := range strings.SplitSeq(kinds, "|") {
			n, _ := strconv.Atoi(k)
			list = append(list, byte(n))
			if n == 0 {
				break
			}
		}
		hash = hashKinds(list...)
	}
	data, _ := hex.DecodeString(strings.ReplaceAll(f["tcp.payload"], ":", ""))
	data = data[:min(len(data), 16)]
	if num("tcp.flags")&uint64(RST|SYN) != 0 {
		data = nil
	}
	l := fmt.Sprintf("%d %s:%d>%s:%d seq=%d ack=%d flags=%03x win=%d len=%d ttl=%d id=%04x df=%d hdr=%d urg=%d opts=%08x data=%x",
		t*1e9+ns, a, num("tcp.srcport"), b, num("tcp.dstport"), num("tcp.seq_raw"), num("tcp.ack_raw"), num("tcp.flags"),
		num("tcp.window_size_value"), num("tcp.len"), ttl, id, df, num("tcp.hdr_len"), num("tcp.urgent_pointer"), hash, data)
	if f["tcp.options.mss_val"] != "" {
		l += " mss=" + f["tcp.options.mss_val"]
	}
	if f["tcp.options.timestamp.tsval"] != "" {
		l += " ts=" + f["tcp.options.timestamp.tsval"] + "/" + f["tcp.options.timestamp.tsecr"]
	}
	if f["tcp.options.wscale.shift"] != "" {
		l += " scale=" + f["tcp.options.wscale.shift"]
	}
	return l
}
