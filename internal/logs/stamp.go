package logs

import (
	"strconv"
	"strings"
	"time"
)

// stamp is the time that a line begins with.
type stamp struct {
	t          time.Time     // as UTC when the zone is not known
	zoned      bool          // t is right as it is
	noYear     bool          // t is in year 0
	resolution time.Duration // a second, or less with a fraction
}

// in returns the moment, with the zone of the file for times without one.
func (s stamp) in(shift time.Duration) time.Time {
	if s.zoned {
		return s.t
	}
	return s.withYear(time.Now()).Add(-shift)
}

// withYear fills in the year that syslog leaves out: that which brings the
// time nearest to now.
func (s stamp) withYear(now time.Time) time.Time {
	if !s.noYear {
		return s.t
	}
	best := s.t
	for i, year := range []int{now.Year(), now.Year() - 1, now.Year() + 1} {
		t := time.Date(year, s.t.Month(), s.t.Day(), s.t.Hour(), s.t.Minute(), s.t.Second(), s.t.Nanosecond(), time.UTC)
		if i == 0 || t.Sub(now).Abs() < best.Sub(now).Abs() {
			best = t
		}
	}
	return best
}

// shape is a kind of time. In pattern, '0' stands for a digit, 'A' for a letter
// of a month or weekday, '_' for a digit or a space; anything else stands for
// itself.
type shape struct {
	pattern string
	layout  string // for time.Parse
	cut     string // bytes of the match before this are skipped
	noYear  bool
}

// shapes are tried in order at each place where a line's time may begin.
var shapes = []shape{
	{pattern: "0000-00-00T00:00:00", layout: "2006-01-02T15:04:05"},                         // ISO 8601, RFC 5424
	{pattern: "0000-00-00 00:00:00", layout: "2006-01-02 15:04:05"},                         // PostgreSQL, MySQL, Python
	{pattern: "0000/00/00 00:00:00", layout: "2006/01/02 15:04:05"},                         // nginx, Go
	{pattern: "00/AAA/0000:00:00:00", layout: "02/Jan/2006:15:04:05"},                       // Apache and nginx access, HAProxy
	{pattern: "AAA AAA _0 00:00:00.000000 0000", layout: "Mon Jan _2 15:04:05.000000 2006"}, // Apache error
	{pattern: "AAA AAA _0 00:00:00 0000", layout: "Mon Jan _2 15:04:05 2006"},
	{pattern: "00 AAA 0000 00:00:00", layout: "02 Jan 2006 15:04:05"},                          // Redis
	{pattern: "00-AAA-0000 00:00:00", layout: "02-Jan-2006 15:04:05"},                          // Tomcat
	{pattern: "AAA _0 00:00:00", layout: "Jan _2 15:04:05", noYear: true},                      // syslog
	{pattern: "A0000 00:00:00.000000", layout: "0102 15:04:05.000000", cut: "A", noYear: true}, // klog
}

// parseStamp finds the time of a line: at its start, or behind brackets,
// process numbers and JSON keys, in the first 200 bytes.
func parseStamp(line string) (stamp, bool) {
	for i := 0; i < len(line) && i < 200; i++ {
		if i > 0 && isWord(line[i-1]) || !isWord(line[i]) {
			continue
		}
		for _, sh := range shapes {
			if s, ok := sh.parse(line[i:]); ok {
				return s, true
			}
		}
	}
	return parseEpoch(line)
}

// LineTime is the time that a line begins with; a time without a zone is taken
// for UTC, one without a year for the nearest.
func LineTime(line string) (time.Time, bool) {
	s, ok := parseStamp(line)
	if !ok {
		return time.Time{}, false
	}
	return s.in(0), true
}

// isWord reports whether a byte can be part of a number or word.
func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// fits reports whether text starts with the pattern.
func (sh shape) fits(s string) bool {
	if len(s) < len(sh.pattern) {
		return false
	}
	for i := range len(sh.pattern) {
		c, digit := s[i], s[i] >= '0' && s[i] <= '9'
		switch p := sh.pattern[i]; p {
		case '0':
			if !digit {
				return false
			}
		case '_':
			if !digit && c != ' ' {
				return false
			}
		case 'A':
			if c < 'A' || c > 'z' || c > 'Z' && c < 'a' {
				return false
			}
		default:
			if c != p {
				return false
			}
		}
	}
	return true
}

// parse reads the time, the fraction and the zone behind it.
func (sh shape) parse(s string) (out stamp, ok bool) {
	if !sh.fits(s) {
		return out, false
	}
	text, rest := s[len(sh.cut):len(sh.pattern)], s[len(sh.pattern):]
	t, err := time.Parse(sh.layout, text)
	if err != nil {
		return out, false
	}
	out = stamp{t: t, noYear: sh.noYear, resolution: time.Second}
	if strings.Contains(sh.layout, ".000000") {
		out.resolution = time.Microsecond
		return out, true
	}
	fraction, rest := cutFraction(rest)
	if fraction > 0 {
		out.t, out.resolution = out.t.Add(fraction), time.Millisecond
	}
	if zone, ok := parseZone(rest); ok && !sh.noYear {
		out.t, out.zoned = out.t.Add(-zone), true
	}
	return out, true
}

// cutFraction takes ".123" or ",123456" off.
func cutFraction(s string) (time.Duration, string) {
	if len(s) < 2 || s[0] != '.' && s[0] != ',' {
		return 0, s
	}
	n := 1
	for n < len(s) && n < 10 && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	digits := (s[1:n] + "000000000")[:9]
	ns, err := strconv.Atoi(digits)
	if err != nil || n == 1 {
		return 0, s
	}
	return time.Duration(ns), s[n:]
}

// parseZone reads "Z", " UTC", "+01:00", " -0500" or "+02".
func parseZone(s string) (time.Duration, bool) {
	if strings.HasPrefix(s, "Z") {
		return 0, true
	}
	s, spaced := strings.CutPrefix(s, " ")
	if strings.HasPrefix(s, "UTC") || strings.HasPrefix(s, "GMT") {
		return 0, true
	}
	if len(s) < 3 || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	if spaced && !isOffset(s[1:]) {
		return 0, false // a number of the message
	}
	sign := time.Duration(1)
	if s[0] == '-' {
		sign = -1
	}
	hours, err := strconv.Atoi(s[1:3])
	if err != nil || hours > 14 || s[1] == '-' || s[1] == '+' {
		return 0, false
	}
	zone := time.Duration(hours) * time.Hour
	rest := strings.TrimPrefix(s[3:], ":")
	if len(rest) >= 2 {
		if minutes, err := strconv.ParseUint(rest[:2], 10, 8); err == nil && minutes < 60 {
			zone += time.Duration(minutes) * time.Minute
		}
	}
	return sign * zone, true
}

// isOffset reports whether text begins with hhmm or hh:mm.
func isOffset(s string) bool {
	digits := shape{pattern: "0000"}
	return digits.fits(s) && (len(s) == 4 || !isWord(s[4])) || shape{pattern: "00:00"}.fits(s)
}

// epochKeys come before a time in seconds since 1970, as zap, pino and others
// write it.
var epochKeys = []string{`"ts":`, `"time":`, `"timestamp":`, `"@timestamp":`, "ts=", "time="}

// parseEpoch finds such a time, in seconds with a fraction or in milliseconds.
func parseEpoch(line string) (stamp, bool) {
	for _, key := range epochKeys {
		i := strings.Index(line, key)
		if i < 0 {
			continue
		}
		s := strings.TrimLeft(line[i+len(key):], " ")
		n := 0
		for n < len(s) && n < 24 && (s[n] >= '0' && s[n] <= '9' || s[n] == '.') {
			n++
		}
		f, err := strconv.ParseFloat(s[:n], 64)
		if err != nil {
			continue
		}
		if f > 1e11 {
			f /= 1000
		}
		if f > 5e8 && f < 1e10 {
			return stamp{t: time.UnixMicro(int64(f * 1e6)), zoned: true, resolution: time.Millisecond}, true
		}
	}
	return stamp{}, false
}
