package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// everyField uses every field of the traffic kinds that has a meaning at a
// gateway, apart from policies within policies.
func everyField() map[string]string {
	return map[string]string{
		"gateway.yaml": strings.Replace(gateway("edge", "*"), "  servers:\n", "  servers:\n"+server(9901, "TCP", ", hosts: ['*']")+
			server(9902, "TLS", ", tls: {mode: PASSTHROUGH}, hosts: ['*.field.test']"), 1),
		"routes.yaml": routes("fields", "field.test", everyRule()) + "  exportTo: ['*']\n" + `  tcp:
  - match: [{port: 9901, sourceSubnet: 10.0.0.0/8, gateways: [edge], sourceLabels: {app: x}, sourceNamespace: shop, destinationSubnets: [10.0.0.0/8]}]
    route: [{destination: {host: tcp.internal, port: {number: 80}, subset: v1}, weight: 1}]
  tls:
  - match: [{port: 9902, sniHosts: [field.test], gateways: [edge], sourceLabels: {app: x}, sourceNamespace: shop, destinationSubnets: [10.0.0.0/8]}]
    route: [{destination: {host: tcp.internal, port: {number: 80}, subset: v1}, weight: 1}]
---
` + strings.NewReplacer("  hosts: [\"\"]\n", "", "  gateways: [edge]\n", "").Replace(routes("child", "", "  - directResponse: {status: 200, body: {string: child}}\n")),
		"services.yaml": entry("http", "http.internal", `  exportTo: ['*']
  addresses: [240.0.0.1]
  subjectAltNames: [http.internal]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  endpoints: [{address: 127.0.0.1, ports: {http: 9}, labels: {v: v1}, locality: r/z/s, weight: 2}]
`) + "---\n" + entry("tcp", "tcp.internal", `  resolution: STATIC
  ports: [{number: 80, name: tcp, protocol: TCP}]
  workloadSelector: {labels: {app: tcp}}
`) + "---\n" + `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: tcp}
spec: {address: 127.0.0.1, ports: {tcp: 9}, labels: {app: tcp, v: v1}, locality: r/z/s, weight: 2}
`,
		"policies.yaml": strings.Join(everyPolicy(), "---\n"),
	}
}

func everyRule() string {
	const compare = "{exact: a}"
	return `  - name: all
    match:
    - {name: m, uri: {exact: /a}, scheme: {exact: http}, method: {exact: GET}, authority: {exact: field.test}, headers: {x-a: ` + compare + `}, port: $PORT,
       sourceLabels: {app: x}, gateways: [edge], queryParams: {a: ` + compare + `}, ignoreUriCase: true, withoutHeaders: {x-b: ` + compare + `}, sourceNamespace: shop, statPrefix: all}
    - {uri: {prefix: /b}, scheme: {prefix: h}, method: {prefix: G}, authority: {prefix: f}, headers: {x-a: {prefix: a}}, queryParams: {a: {prefix: a}}, withoutHeaders: {x-b: {prefix: a}}}
    - {uri: {regex: /c}, scheme: {regex: h.*}, method: {regex: G.*}, authority: {regex: f.*}, headers: {x-a: {regex: a}}, queryParams: {a: {regex: a}}, withoutHeaders: {x-b: {regex: a}}}
    route:
    - destination: {host: http.internal, subset: v1, port: {number: 80}}
      weight: 1
      headers: {request: {set: {a: b}, add: {c: d}, remove: [e]}, response: {set: {a: b}, add: {c: d}, remove: [e]}}
    headers: {request: {set: {a: b}, add: {c: d}, remove: [e]}, response: {set: {a: b}, add: {c: d}, remove: [e]}}
    rewrite: {uri: /z, authority: z.test}
    timeout: 5s
    retries: {attempts: 2, perTryTimeout: 1s, retryOn: '5xx,503', retryRemoteLocalities: true, retryIgnorePreviousHosts: true, backoff: 25ms}
    fault:
      delay: {fixedDelay: 1s, percentage: {value: 1}}
      abort: {httpStatus: 500, percentage: {value: 1}}
    mirrors: [{destination: {host: http.internal, subset: v1, port: {number: 80}}, percentage: {value: 1}}]
    corsPolicy: {allowOrigins: [{exact: a}, {prefix: b}, {regex: c}], allowMethods: [GET], allowHeaders: [a], exposeHeaders: [b], maxAge: 1h, allowCredentials: true, unmatchedPreflights: IGNORE}
  - match: [{uri: {prefix: /old}}]
    route: [{destination: {host: http.internal}}]
    mirror: {host: http.internal, subset: v1, port: {number: 80}}
    mirrorPercentage: {value: 1}
    rewrite: {uriRegexRewrite: {match: /old, rewrite: /new}}
    fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 1}}}
  - match: [{uri: {prefix: /older}, port: 1}]
    route: [{destination: {host: http.internal}}]
    mirror: {host: http.internal}
    mirrorPercent: 5
    corsPolicy: {allowOrigin: ['*']}
    fault: {delay: {fixedDelay: 1s, percent: 5}}
  - match: [{uri: {exact: /r1}}]
    redirect: {uri: /x, authority: x.test, port: 81, scheme: https, redirectCode: 302}
  - match: [{uri: {exact: /r2}}]
    redirect: {prefixRewrite: /x, derivePort: FROM_REQUEST_PORT}
  - match: [{uri: {exact: /d1}}]
    directResponse: {status: 200, body: {string: hi}}
  - match: [{uri: {exact: /d2}}]
    directResponse: {status: 200, body: {bytes: aGk=}}
  - match: [{uri: {prefix: /child}}]
    delegate: {name: child, namespace: default}
`
}

// everyPolicy are rules of hosts of their own, because their fields exclude
// each other.
func everyPolicy() []string {
	policies := []string{
		`{loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s, minimumPercent: 10, aggression: 1}, localityLbSetting: {enabled: true, failover: [{from: r, to: q}]}},
    connectionPool: {tcp: {maxConnections: 9, connectTimeout: 1s, tcpKeepalive: {probes: 3, time: 60s, interval: 5s}, maxConnectionDuration: 1h, idleTimeout: 1h},
      http: {http1MaxPendingRequests: 9, http2MaxRequests: 9, maxRequestsPerConnection: 9, maxRetries: 9, idleTimeout: 1h, h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 9, http2KeepAlive: {interval: 5s, timeout: 1s}}},
    outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 5, consecutiveGatewayErrors: 5, consecutive5xxErrors: 5, interval: 5s, baseEjectionTime: 5s, maxEjectionPercent: 50, minHealthPercent: 10, outlierDetectionHttpErrorCodes: [500]},
    tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca, subjectAltNames: [a], sni: a, insecureSkipVerify: false, caCrl: /crl},
    retryBudget: {percent: 20, minRetryConcurrency: 3, budgetInterval: 10s}, proxyProtocol: {version: V2},
    portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}, connectionPool: {http: {useClientProtocol: true}}, outlierDetection: {consecutiveErrors: 5}, tls: {mode: DISABLE}}]}`,
		"{loadBalancer: {consistentHash: {httpCookie: {name: a, path: /, ttl: 1h, attributes: [{name: b, value: c}]}, ringHash: {minimumRingSize: 1024}}, localityLbSetting: {distribute: [{from: r/*, to: {'r/*': 100}}]}}, tls: {mode: SIMPLE, credentialName: any}}",
		"{loadBalancer: {consistentHash: {httpHeaderName: a, maglev: {tableSize: 5003}}, localityLbSetting: {failoverPriority: [a]}}, connectionPool: {http: {useClientProtocol: true}}, outlierDetection: {consecutiveErrors: 5}}",
		"{loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 1024}, zoneAwareLbSetting: {enabled: true, failover: [{from: r, to: q}], minClusterSize: 6}}}",
		"{loadBalancer: {consistentHash: {httpQueryParameterName: a}, zoneAwareLbSetting: {failoverPriority: [a]}}}",
		"{loadBalancer: {simple: LEAST_REQUEST, warmupDurationSecs: 30s}, tunnel: {protocol: POST, targetHost: a, targetPort: 9}}",
	}
	out := []string{
		rule("http.internal", "  exportTo: ['*']\n  subsets: [{name: v1, labels: {v: v1}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]\n"),
		rule("tcp.internal", "  workloadSelector: {matchLabels: {app: gateway}}\n  subsets: [{name: v1, labels: {v: v1}}]\n"),
	}
	for i, p := range policies {
		out = append(out, rule("p"+itoa(i)+".internal", "  trafficPolicy: "+p+"\n"))
	}
	return out
}

// No field is "not yet supported" but those that Istio itself does not serve.
func TestEveryFieldIsSupported(t *testing.T) {
	t.Parallel()
	files := everyField()
	w := newWorld(t, files)
	_, out := w.sluice("validate", w.dir)
	for line := range strings.Lines(out) {
		for _, word := range []string{"not supported yet", "not yet", "nknown", "no such field", "is no field"} {
			if strings.Contains(line, word) {
				t.Errorf("validate says %s", line)
			}
		}
	}
	w.run()
	for _, p := range w.status().all() {
		if slices.Contains([]string{"NotYetSupported", "UnknownField", "WrongType", "MissingField", "InvalidSyntax", "Internal", "RejectedByEnvoy"}, p.Reason) {
			t.Errorf("%s: %s", p.Reason, p.text)
		}
	}
	missing := unused(t, files)
	if len(missing) > 0 {
		t.Errorf("the test does not use %d fields: %v", len(missing), missing)
	}
}

// unused returns the served fields of the traffic kinds that no object uses.
func unused(t *testing.T, files map[string]string) (out []string) {
	t.Helper()
	used := map[string]bool{}
	for name, text := range files {
		for doc := range strings.SplitSeq(strings.ReplaceAll(text, "$PORT", "80"), "---\n") {
			var object map[string]any
			if err := yaml.Unmarshal([]byte(doc), &object); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, doc)
			}
			note(used, fmt.Sprint(object["kind"], " spec"), object["spec"])
		}
	}
	list, err := os.ReadFile("../../config/istio/testdata/fields.txt")
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	for line := range strings.Lines(string(list)) {
		field, served := strings.CutPrefix(strings.TrimSpace(line), "served ")
		if !served || strings.HasPrefix(field, "Gateway") || strings.Contains(field, "portLevelSettings.") || strings.Contains(field, "subsets.trafficPolicy.") {
			continue
		}
		if fields++; !used[field] {
			out = append(out, field)
		}
	}
	if fields < 200 {
		t.Fatalf("the list has %d fields; it is read wrongly", fields)
	}
	return out
}

// note marks the paths of a value, without the places in lists. The keys of a
// map of matches are no fields: what is in them stands for the map's own.
func note(used map[string]bool, path string, value any) {
	used[path] = true
	switch v := value.(type) {
	case []any:
		for _, e := range v {
			note(used, path, e)
		}
	case map[string]any:
		for key, e := range v {
			note(used, path+"."+key, e)
			kinds, isMatch := e.(map[string]any)
			if under := path[strings.LastIndexByte(path, '.')+1:]; isMatch && slices.Contains([]string{"headers", "withoutHeaders", "queryParams"}, under) {
				for kind := range kinds {
					used[path+"."+kind] = true
				}
			}
		}
	}
}
