package trace

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// slot is one thing to know, with the programs that can tell it, best first.
// The kernel decides by accepting one, never a version number.
type slot struct {
	name     string
	programs []string
	optional bool   // its absence is no loss worth naming
	blind    string // what is not seen without it
}

// kernelFacts is what the running kernel's BTF tells before anything is loaded.
type kernelFacts struct {
	sendArgs, dropArgs int               // arguments of tcp_send_reset and kfree_skb, -1 when unknown
	rstReasons         map[int32]string  // enum sk_rst_reason
	dropReasons        map[int32]string  // enum skb_drop_reason
	dropNumbers        map[string]uint32 // its inverse
}

func readKernelFacts(types *btf.Cache) (kernelFacts, error) {
	spec, err := types.Kernel()
	if err != nil {
		return kernelFacts{}, fmt.Errorf("read the kernel's BTF: %w", err)
	}
	k := kernelFacts{
		sendArgs: tracepointArgs(spec, "tcp_send_reset"), dropArgs: tracepointArgs(spec, "kfree_skb"),
		rstReasons:  enumNames(spec, "sk_rst_reason", "SK_RST_REASON_"),
		dropReasons: enumNames(spec, "skb_drop_reason", "SKB_DROP_REASON_"),
		dropNumbers: map[string]uint32{},
	}
	for n, name := range k.dropReasons {
		k.dropNumbers[name] = uint32(n)
	}
	return k, nil
}

// tracepointArgs counts the arguments of a raw tracepoint; -1 when BTF does not know it.
func tracepointArgs(spec *btf.Spec, name string) int {
	var td *btf.Typedef
	if spec.TypeByName("btf_trace_"+name, &td) != nil {
		return -1
	}
	if p, ok := td.Type.(*btf.Pointer); ok {
		if fp, ok := p.Target.(*btf.FuncProto); ok {
			return len(fp.Params) - 1
		}
	}
	return -1
}

func enumNames(spec *btf.Spec, name, prefix string) map[int32]string {
	m := map[int32]string{}
	var e *btf.Enum
	if spec.TypeByName(name, &e) == nil {
		for _, v := range e.Values {
			m[int32(v.Value)] = strings.TrimPrefix(v.Name, prefix)
		}
	}
	return m
}

// ladder returns the slots for this kernel.
func ladder(k kernelFacts, cfg Config) []slot {
	send := slot{name: "send", programs: []string{"send_tp3", "send_tp2", "send_raw"}, blind: "resets sent by this host's TCP stack"}
	switch k.sendArgs {
	case 2:
		send.programs = send.programs[1:]
	case -1:
		send.programs = send.programs[2:]
	}
	drop := slot{name: "drop", programs: []string{"drop_tp4", "drop_tp3"}, blind: "resets that were refused, listen queue overflows, firewall drops"}
	if k.dropArgs == 3 {
		drop.programs = drop.programs[1:]
	}
	slots := []slot{
		send,
		{name: "recv", programs: []string{"recv_fe", "recv_kp", "recv_tp", "recv_raw"}, blind: "resets received by this host"},
		{name: "err", programs: []string{"err"}, blind: "timeouts and unreachable destinations"},
		{name: "state", programs: []string{"state"}, blind: "how a socket died that a late reset speaks of; the age of connections"},
		drop,
		{name: "owner", programs: []string{"owner"}, blind: "which process let go of a reset socket, unless it still holds it"},
		{name: "signal", programs: []string{"signal"}, blind: "who killed a process"},
		{name: "oom", programs: []string{"oom"}, blind: "OOM kills"},
		{name: "icmp", programs: []string{"icmp"}, optional: true, blind: "ICMP errors that this host sends"},
		{name: "exit", programs: []string{"exits_tp"}, optional: true, blind: "whose process had ended when the kernel closed its socket"},
		{name: "fork", programs: []string{"forks"}, optional: true, blind: "for which new process a thread of the kernel closes a socket"},
		{name: "exec", programs: []string{"execs"}, optional: true, blind: "for which new program a thread of the kernel closes a socket"},
		{name: "tasks", programs: []string{"tasks"}, optional: true, blind: "for whom a thread of the kernel closes a socket"},
	}
	if k.sendArgs == 2 {
		slots = append(slots,
			slot{name: "nosk4", programs: []string{"send4_fe", "send4_kp"}, blind: "IPv4 resets sent without a socket (closed ports, TIME_WAIT), except on the wire"},
			slot{name: "nosk6", programs: []string{"send6_fe", "send6_kp"}, blind: "IPv6 resets sent without a socket, except on the wire"})
	}
	if !cfg.NoWire {
		slots = append(slots, slot{name: "wire", programs: []string{"wire"}, blind: "resets that no socket sent: firewall rejects, raw sockets, forwarding"},
			slot{name: "arrive", programs: []string{"arrive"}, optional: true, blind: "flags, TTL and numbers of resets that arrive"})
	}
	return slots
}

// kernel is everything loaded into the kernel.
type kernel struct {
	facts    kernelFacts
	maps     map[string]*ebpf.Map
	links    []link.Link
	witness  map[string]link.Link     // of the wire witness, apart because they come and go
	tasks    *link.Iter               // nil when the kernel has none
	attached map[string]string        // slot -> program
	programs map[string]*ebpf.Program // slot -> the same, to ask how often it could not run
	failures []string
	cpus     int
	slots    int // of each per-CPU ring
	hz       int // jiffies of a second
}

func (k *kernel) close() {
	for _, l := range k.links {
		l.Close()
	}
	for _, l := range k.witness {
		l.Close()
	}
	for _, p := range k.programs {
		p.Close()
	}
	for _, m := range k.maps {
		m.Close()
	}
}

// ringSlots bounds the memory of closes and opens to 128 MiB on any machine.
func ringSlots(cpus int) int {
	n := min(65536, 128<<20/(128*cpus))
	return 1 << (bits.Len(uint(max(n, 256))) - 1)
}

func jiffiesHz() int {
	if hz := (&linux.Host{}).JiffiesHz(); hz > 0 {
		return hz
	}
	return 250
}

// ringBytes is the size of the ring buffer: room for a second of 2,000 resets
// with five records each, less on a host that has little memory.
func ringBytes() uint32 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil || uint64(info.Totalram)*uint64(info.Unit) < 2<<30 {
		return 1 << 20
	}
	return 8 << 20
}

func loadKernel(cfg Config) (_ *kernel, err error) {
	types := btf.NewCache() // decoding BTF takes 20 ms and several megabytes: once, and not kept
	facts, err := readKernelFacts(types)
	if err != nil {
		return nil, err
	}
	_ = rlimit.RemoveMemlock() // needed before 5.11 only, and refused without privilege
	spec, err := loadReset()
	if err != nil {
		return nil, fmt.Errorf("read the embedded programs: %w", err)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	k := &kernel{facts: facts, maps: map[string]*ebpf.Map{}, witness: map[string]link.Link{}, attached: map[string]string{}, programs: map[string]*ebpf.Program{}, cpus: cpus, slots: ringSlots(cpus), hz: jiffiesHz()}
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	if err := k.configure(spec, cfg); err != nil {
		return nil, err
	}
	for name, ms := range spec.Maps {
		if strings.HasPrefix(name, ".") { // constants: each program has its own copy
			continue
		}
		m, err := ebpf.NewMap(ms)
		if err != nil {
			return nil, fmt.Errorf("create map %s: %w", name, err)
		}
		k.maps[name] = m
	}
	if !cfg.NoPayload {
		if err := k.learnDirectMap(spec, types); err != nil {
			k.failures = append(k.failures, "learn: "+shortError(err))
		}
	}
	for _, s := range ladder(facts, cfg) {
		k.attachSlot(spec, s, cfg, types)
	}
	if k.attached["send"] == "" && k.attached["recv"] == "" && k.attached["wire"] == "" {
		return nil, errors.New("the kernel refused every hook: " + strings.Join(k.failures, "; "))
	}
	return k, nil
}

func (k *kernel) configure(spec *ebpf.CollectionSpec, cfg Config) error {
	burst := cfg.Burst
	if burst == 0 {
		burst = 4000
	}
	number := func(name string) uint32 {
		if n, ok := k.facts.dropNumbers[name]; ok {
			return n
		}
		return 0xffff
	}
	vars := map[string]uint32{
		"burst": uint32(burst), "close_slots": uint32(k.slots), "open_slots": uint32(k.slots), "cpus": uint32(k.cpus), "self": uint32(os.Getpid()), "second": uint32(k.hz),
		"drop_not_specified": number("NOT_SPECIFIED"), "drop_no_socket": number("NO_SOCKET"), "drop_tcp_reset": number("TCP_RESET"),
		"drop_invalid_sequence": number("TCP_INVALID_SEQUENCE"), "drop_listen_overflow": number("TCP_LISTEN_OVERFLOW"), "drop_netfilter": number("NETFILTER_DROP"),
		"drop_paws": number("TCP_RFC7323_PAWS"), "drop_md5": number("TCP_MD5NOTFOUND"), "drop_md5_last": 0, "drop_csum": number("TCP_CSUM"),
		"drop_invalid_end": number("TCP_INVALID_END_SEQUENCE"), "drop_tcp_close": number("TCP_CLOSE"), "drop_too_big": number("PKT_TOO_BIG"),
	}
	for _, name := range []string{"TCP_MD5FAILURE", "TCP_AOFAILURE"} {
		if n, ok := k.facts.dropNumbers[name]; ok {
			vars["drop_md5_last"] = max(vars["drop_md5_last"], n)
		}
	}
	if cfg.Stacks {
		vars["want_ustack"] = 1
	}
	if vars["payload"] = 1; cfg.NoPayload {
		vars["payload"] = 0
	}
	for name, v := range vars {
		if spec.Variables[name] == nil {
			continue // the compiler dropped it
		}
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	spec.Maps["events"].MaxEntries = ringBytes()
	spec.Maps["closes"].MaxEntries = uint32(k.slots * k.cpus)
	spec.Maps["opens"].MaxEntries = uint32(k.slots * k.cpus)
	return nil
}

// attachSlot tries the programs of s in order and keeps the first that the
// kernel takes.
func (k *kernel) attachSlot(spec *ebpf.CollectionSpec, s slot, cfg Config, types *btf.Cache) {
	for _, name := range s.programs {
		if slices.Contains(cfg.Skip, name) {
			continue
		}
		p, l, err := k.attach(spec, name, types)
		if err != nil {
			k.failures = append(k.failures, fmt.Sprintf("%s: %v", name, shortError(err)))
			continue
		}
		if s.name == "wire" || s.name == "arrive" {
			k.witness[s.name] = l
		} else {
			k.links = append(k.links, l)
		}
		if it, ok := l.(*link.Iter); ok {
			k.tasks = it
		}
		k.programs[s.name] = p
		k.attached[s.name] = name
		return
	}
}

func (k *kernel) load(base *ebpf.CollectionSpec, name string, types *btf.Cache) (*ebpf.Program, error) {
	spec := base.Copy()
	ps := spec.Programs[name]
	if ps == nil {
		return nil, errors.New("not in the object")
	}
	spec.Programs = map[string]*ebpf.ProgramSpec{name: ps}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: k.maps, Cache: types})
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	return coll.DetachProgram(name), nil
}

func (k *kernel) attach(base *ebpf.CollectionSpec, name string, types *btf.Cache) (*ebpf.Program, link.Link, error) {
	p, err := k.load(base, name, types)
	if err != nil {
		return nil, nil, err
	}
	l, err := hook(p, base.Programs[name].SectionName)
	if err != nil {
		p.Close()
		return nil, nil, err
	}
	return p, l, nil
}

// hook attaches p where the section name of its source says.
func hook(p *ebpf.Program, section string) (link.Link, error) {
	kind, target, _ := strings.Cut(section, "/")
	switch kind {
	case "tp_btf", "fentry":
		return link.AttachTracing(link.TracingOptions{Program: p})
	case "kprobe":
		return link.Kprobe(target, p, nil)
	case "iter":
		return link.AttachIter(link.IterOptions{Program: p})
	case "raw_tp":
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: target, Program: p})
	}
	return nil, fmt.Errorf("unknown kind of program %q", kind)
}

// hookOf names the hook that counts for a slot.
var hookOf = map[string]string{"nosk4": "send", "nosk6": "send"}

// missed returns how often a program of the hook did not run because it was
// running already on the same CPU: an interrupt that sends a reset came while
// a process was about to send one.
func (k *kernel) missed(hook string) (n uint64) {
	for slot, p := range k.programs {
		if slot != hook && hookOf[slot] != hook {
			continue
		}
		if st, err := p.Stats(); err == nil { // before Linux 5.12 it is not counted
			n += st.RecursionMisses
		}
	}
	return n
}

// shortError keeps the first line: a verifier log is for --verbose.
func shortError(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	s = strings.TrimSuffix(s, " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)")
	if len(s) > 160 {
		s = s[:160] + "..."
	}
	return s
}
