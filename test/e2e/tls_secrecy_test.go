package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"os/exec"
	"strings"
	"testing"
)

// traces are texts that give a private key away: lines of its PEM, its bytes in
// base64 and hexadecimal, and its PEM in base64 as a Secret has it.
func traces(t *testing.T, l leaf) (out []string) {
	t.Helper()
	block, _ := pem.Decode([]byte(l.keyPEM))
	if block == nil {
		t.Fatalf("no key in %q", l.keyPEM)
	}
	for line := range strings.Lines(l.keyPEM) {
		if line = strings.TrimSpace(line); len(line) > 20 && !strings.Contains(line, "--") {
			out = append(out, line)
		}
	}
	// The first bytes tell the algorithm only, and are the same for all.
	inner := block.Bytes[len(block.Bytes)/3:]
	for shift := range 3 {
		out = append(out, base64.StdEncoding.EncodeToString(inner[shift:])[:40])
		text := base64.StdEncoding.EncodeToString([]byte(l.keyPEM[shift:]))
		out = append(out, text[100:140])
	}
	return append(out, hex.EncodeToString(inner)[:40], strings.ToUpper(hex.EncodeToString(inner))[:40])
}

// keyMarkers begin private keys in PEM, and that in base64.
func keyMarkers() []string {
	return []string{
		"PRIVATE KEY-", "BEGIN RSA PRIVATE", "BEGIN EC PRIVATE", "BEGIN ENCRYPTED PRIVATE",
		base64.StdEncoding.EncodeToString([]byte("-----BEGIN PRIVATE"))[:20], base64.StdEncoding.EncodeToString([]byte("-----BEGIN RSA PRIVATE"))[:20],
		base64.StdEncoding.EncodeToString([]byte("-----BEGIN ENCRYPTED PRIVATE"))[:20],
	}
}

// No private key is in anything that Sluice prints or answers, whatever is wrong
// with the Secret in which it lies.
func TestTLSKeysStaySecret(t *testing.T) { layouts(t, keysStaySecret) }

func keysStaySecret(t *testing.T, metadata string) {
	ca := newAuthority(t)
	keys := []leaf{ca.issue("good.test"), ca.sign(order{names: []string{"rsa.test"}, rsa: true}), ca.issue("mutual.test"), ca.issue("client"), ca.issue("bad.test"), ca.issue("torn.test")}
	good, rsa, mutual, client, bad, torn := keys[0], keys[1], keys[2], keys[3], keys[4], keys[5]
	cut := strings.Split(torn.keyPEM, "\n")
	files := map[string]string{
		"gateway.yaml": secured(metadata, simple("good", "good.test"), https("mode: SIMPLE, credentialNames: [good, rsa]", "both.test"),
			https("mode: MUTUAL, credentialName: mutual", "mutual.test"), simple("bad", "bad.test"), simple("swapped", "swapped.test"),
			simple("torn", "torn.test"), simple("locked", "locked.test"), simple("odd", "odd.test"), simple("file", "file.test")),
		"routes.yaml": everywhere(newOrigin(t, "o")) + "---\n" + rule("o.internal", "  trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: MUTUAL, credentialName: client}}]}\n"),
		"secrets.yaml": strings.Join([]string{
			good.secret("good"), encoded("rsa", map[string]string{"tls.crt": rsa.certPEM, "tls.key": rsa.keyPEM}),
			mutual.secret("mutual", "ca.crt", ca.text(ca.file)), client.secret("client", "ca.crt", ca.text(ca.file)),
			secret("bad", map[string]string{"tls.crt": good.certPEM, "tls.key": bad.keyPEM}),
			secret("swapped", map[string]string{"tls.crt": bad.keyPEM, "tls.key": bad.certPEM}),
			secret("torn", map[string]string{"tls.crt": torn.certPEM, "tls.key": strings.Join(append(cut[:1], cut[2:]...), "\n")}),
			secret("locked", map[string]string{"tls.crt": torn.certPEM, "tls.key": torn.encryptedKey(t)}),
			"apiVersion: v1\nkind: Secret\nmetadata: {name: odd}\nstringData: {tls.key: {a: '" + strings.ReplaceAll(bad.keyPEM, "\n", "") + "'}}\ndata: {tls.crt: '" + strings.ReplaceAll(bad.keyPEM, "\n", "") + "'}\n",
		}, "---\n"),
		"broken.yaml": "kind: Secret\nstringData:\n  tls.key: |\n" + bad.keyPEM + "}]\n",
	}
	w := newWorld(t, files).run("--log-level", "debug")
	w.problem("CredentialInvalid", "spec.servers[3].tls.credentialName", "does not belong")
	w.visits(visit{caller: caller{sni: "good.test", trust: ca}}, visit{caller: caller{sni: "mutual.test", trust: ca, show: &client}})
	w.write("secrets.yaml", strings.Replace(files["secrets.yaml"], good.keyPEM, bad.keyPEM, 1)) // a change, for the log
	texts := map[string]string{}
	for _, path := range []string{"/status", "/config", "/config?format=yaml", "/metrics", "/certificates", "/proxy/config_dump", "/proxy/config_dump?include_eds", "/proxy/certs", "/proxy/listeners"} {
		_, body, err := fetch("http://"+w.admin+path, "")
		if err != nil {
			t.Fatal(err)
		}
		texts["GET "+path] = body
	}
	for _, args := range [][]string{{"translate", w.dir}, {"translate", "-o", "json", w.dir}, {"translate", "--type", "secret", w.dir}, {"validate", w.dir}} {
		out, _ := exec.Command(binary(), args...).CombinedOutput() // it fails for what is wrong
		texts["sluice "+strings.Join(args[:len(args)-1], " ")] = string(out)
	}
	for _, args := range [][]string{{"status"}, {"status", "-o", "json"}, {"wait", "--timeout", "1s"}} {
		_, texts["sluice "+strings.Join(args, " ")] = w.sluice(args...)
	}
	texts["log"] = w.log.String()
	if !strings.Contains(texts["sluice translate --type secret"], "good") || !strings.Contains(texts["GET /config"], "secret") {
		t.Fatal("nothing is said of secrets at all; the test looks in the wrong places")
	}
	forbidden := keyMarkers()
	for _, key := range keys {
		forbidden = append(forbidden, traces(t, key)...)
	}
	for name, text := range texts {
		for _, trace := range forbidden {
			if at := strings.Index(text, trace); at >= 0 {
				t.Errorf("%s has %q: …%s…", name, trace, text[max(0, at-80):min(len(text), at+len(trace)+20)])
			}
		}
	}
}
