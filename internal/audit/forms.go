package audit

import (
	"fmt"
	"html"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/internal/chain"
)

// Picture draws the timers along the connections of the host.
func Picture(r *Result) string { return chain.SVG(r.Chains) }

// Markdown writes an audit for people.
func Markdown(r *Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Audit of %s\n", plain(r.Host))
	for i := range r.Advices {
		a := &r.Advices[i]
		c, _ := Find(a.ID)
		fmt.Fprintf(&b, "\n## %s: %s\n\n- where: %s\n- is: %s\n- want: %s\n- why: %s\n", a.Severity, c.Title, plain(a.Subject), plain(a.Is), plain(a.Want), plain(a.Why))
		for _, e := range a.Evidence {
			fmt.Fprintf(&b, "- seen: %s: %s\n", plain(e.What), plain(e.Value+from(e)))
		}
		fmt.Fprintf(&b, "- change: %s\n", plain(a.Fix.Title))
		for _, x := range a.Fix.Commands {
			fmt.Fprintf(&b, "\n      %s\n\n", oneLine(x))
		}
		fmt.Fprintf(&b, "- prevents: %s\n- source: %s\n", strings.Join(a.Prevents, ", "), plain(a.Source))
	}
	for _, u := range r.NotLooked {
		fmt.Fprintf(&b, "\n- not looked at: %s: %s", plain(u.What), plain(u.Why))
	}
	return b.String() + "\n"
}

func from(e Evidence) string {
	if e.From == "" {
		return ""
	}
	return " (" + e.From + ")"
}

// oneLine removes what could begin a line of its own, or steer a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// plain makes foreign text harmless in Markdown.
func plain(s string) string {
	return strings.NewReplacer("\\", "\\\\", "`", "\\`", "*", "\\*", "_", "\\_", "<", "&lt;", ">", "&gt;", "[", "\\[", "|", "\\|", "#", "\\#").Replace(oneLine(s))
}

// HTML writes an audit as a page that stands alone: no script, no other file.
func HTML(r *Result) string {
	var b strings.Builder
	e := html.EscapeString
	fmt.Fprintf(&b, `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Audit of %s</title>`, e(oneLine(r.Host)))
	b.WriteString(`<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}h2{margin-top:2rem;border-left:.4rem solid #888;padding-left:.6rem}h2.harm{border-color:#b00020}h2.near{border-color:#c77700}dt{font-weight:600;float:left;clear:left;width:7rem}dd{margin-left:8rem}code{background:#eee;padding:.1rem .3rem;overflow-wrap:anywhere}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}code{background:#333}}</style>`)
	fmt.Fprintf(&b, "<h1>Audit of %s</h1>", e(oneLine(r.Host)))
	if len(r.Advices) == 0 {
		b.WriteString("<p>Nothing here breaks connections or is about to.</p>")
	}
	for i := range r.Advices {
		a := &r.Advices[i]
		c, _ := Find(a.ID)
		fmt.Fprintf(&b, `<h2 class="%s">%s: %s</h2><dl>`, a.Severity, a.Severity, e(c.Title))
		row := func(k, v string) {
			if v != "" {
				fmt.Fprintf(&b, "<dt>%s</dt><dd>%s</dd>", k, e(oneLine(v)))
			}
		}
		row("where", a.Subject)
		row("is", a.Is)
		row("want", a.Want)
		row("why", a.Why)
		for _, x := range a.Evidence {
			row("seen", x.What+": "+x.Value+from(x))
		}
		row("change", a.Fix.Title)
		for _, x := range a.Fix.Commands {
			fmt.Fprintf(&b, "<dt></dt><dd><code>%s</code></dd>", e(oneLine(x)))
		}
		row("or", strings.Join(a.Or, "; "))
		row("risk", a.Risk)
		row("prevents", strings.Join(a.Prevents, ", "))
		row("source", a.Source)
		b.WriteString("</dl>")
	}
	if len(r.Chains) > 0 {
		b.WriteString("<h2>Timers along the connections</h2>" + Picture(r))
	}
	if len(r.NotLooked) > 0 {
		b.WriteString("<h2>Not looked at</h2><ul>")
		for _, u := range r.NotLooked {
			fmt.Fprintf(&b, "<li>%s: %s</li>", e(oneLine(u.What)), e(oneLine(u.Why)))
		}
		b.WriteString("</ul>")
	}
	return b.String() + "</html>\n"
}

// SARIF is an audit in the Static Analysis Results Interchange Format 2.1.0.
func SARIF(r *Result, version string) any {
	level := map[string]string{Harm: "error", Near: "warning", Latent: "note"}
	type m = map[string]any
	rules, results := []any{}, []any{}
	for _, c := range checks {
		rules = append(rules, m{"id": c.ID, "shortDescription": m{"text": c.Title}, "fullDescription": m{"text": c.Why}})
	}
	for i := range r.Advices {
		a := &r.Advices[i]
		file, line, _ := strings.Cut(a.Fix.At, ":")
		at := m{"logicalLocations": []any{m{"fullyQualifiedName": a.Subject}}}
		if strings.HasPrefix(file, "/") && line != "" {
			n := 0
			if _, err := fmt.Sscanf(line, "%d", &n); err == nil && n > 0 {
				at["physicalLocation"] = m{"artifactLocation": m{"uri": "file://" + file}, "region": m{"startLine": n}}
			}
		}
		results = append(results, m{"ruleId": a.ID, "level": level[a.Severity], "message": m{"text": a.Subject + ": " + a.Is + "; want: " + a.Want + ". " + a.Fix.Title}, "locations": []any{at}})
	}
	return m{"version": "2.1.0", "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
		"runs": []any{m{"tool": m{"driver": m{"name": "holdfast check", "version": version, "rules": rules}}, "results": results}}}
}

// forms of changes for people who manage hosts otherwise.
var forms = map[string]func([]Action) string{
	"sysctl":     func(list []Action) string { return each(list, "%s = %s\n") },
	"ansible":    emitAnsible,
	"cloud-init": emitCloudInit,
	"kubernetes": emitKubernetes,
	"nginx":      func(list []Action) string { return emitEdits(list) },
	"haproxy":    func(list []Action) string { return emitEdits(list) },
	"terraform":  emitTerraform,
}

// Forms lists them.
func Forms() []string { return slices.Sorted(mapsKeys(forms)) }

func mapsKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Emit writes the changes of an audit in a form, and lists what cannot be said in
// it.
func Emit(r *Result, form string) (text string, left []string) {
	var list []Action
	for i := range r.Advices {
		a := &r.Advices[i]
		taken := false
		for _, x := range a.Actions {
			fits := x.Kind == "sysctl" && form != "nginx" && form != "haproxy" || x.Kind == "edit" && a.Fix.Product == form
			if fits && !slices.ContainsFunc(list, func(o Action) bool { return o.Key == x.Key && x.Kind == "sysctl" && o.Kind == "sysctl" }) {
				list = append(list, x)
			}
			taken = taken || fits
		}
		if !taken {
			left = append(left, a.ID+": "+a.Fix.Title)
		}
	}
	if len(list) == 0 {
		return "", left
	}
	return forms[form](list), left
}

func each(list []Action, format string) string {
	var b strings.Builder
	for _, a := range list {
		fmt.Fprintf(&b, format, a.Key, a.Value)
	}
	return b.String()
}

func emitAnsible(list []Action) string {
	var b strings.Builder
	for _, a := range list {
		fmt.Fprintf(&b, "- name: %s\n  ansible.posix.sysctl:\n    name: %s\n    value: %q\n    sysctl_file: /etc/sysctl.d/zz-holdfast.conf\n    state: present\n", a.Key, a.Key, a.Value)
	}
	return b.String()
}

func emitCloudInit(list []Action) string {
	return "#cloud-config\nwrite_files:\n  - path: /etc/sysctl.d/zz-holdfast.conf\n    content: |\n" + each(list, "      %s = %s\n") + "runcmd:\n  - [sysctl, --load, /etc/sysctl.d/zz-holdfast.conf]\n"
}

func emitKubernetes(list []Action) string {
	var b strings.Builder
	b.WriteString("# of a pod; the kubelet must allow those that are not safe: --allowed-unsafe-sysctls\nspec:\n  securityContext:\n    sysctls:\n")
	for _, a := range list {
		fmt.Fprintf(&b, "      - name: %s\n        value: %q\n", a.Key, a.Value)
	}
	return b.String()
}

func emitTerraform(list []Action) string {
	return "locals {\n  holdfast_sysctl = {\n" + each(list, "    %q = %q\n") + "  }\n}\n"
}

func emitEdits(list []Action) string {
	var b strings.Builder
	for _, a := range list {
		fmt.Fprintf(&b, "# %s\n%s\n", a.Edit.Span, strings.TrimSpace(a.Edit.Text))
	}
	return b.String()
}
