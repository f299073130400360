// Package proxy runs the Envoy of one machine.
//
// In go the path of a binary, a data directory, the unix socket of the xDS
// server and the limits of [model.Settings]; out come one live Envoy, its
// [State], its log lines and a way to its admin interface. It alone decides
// which binary is good enough ([Find]), what the bootstrap says ([Bootstrap]),
// and when an Envoy is started, hot restarted, adopted, drained and ended
// ([Supervisor]). What Envoy serves is not known here: that arrives by xDS.
//
// Processes. Every Envoy gets a process group of its own, so that Ctrl-C in a
// terminal reaches only Sluice, which then drains. Without KeepEnvoy it is a
// child that ends with Sluice: it is started with SIGKILL as parent-death
// signal, from an OS thread that lives as long as that Envoy (the kernel sends
// the signal when the thread dies, not only when the process does), and when it
// is up Envoy itself asks for SIGTERM instead. The kernel clears that signal
// when the binary has file capabilities or is set-user-ID: give Sluice the
// capability instead.
//
// KeepEnvoy is for a Sluice that is killed outright: its Envoy goes on serving
// and a state file in the data directory lets the next Run take over by hot
// restart. Such an Envoy is not a child of Sluice (see shell), so how it ended is
// not known, only that it did. A Run that ends because its context ended always drains and ends
// its Envoy, KeepEnvoy or not.
//
// Memory. Where the kernel gives huge pages to those who ask, the supervisor asks
// for Envoy; see package hugepage.
//
// Files in the data directory, all of them owned by Sluice and its Envoy:
// lock, pid, envoy-<epoch>.json (bootstrap), envoy-<epoch>.sock (admin),
// envoy-<epoch>.drain (whether it drains), hot_* (sockets of hot restart), base-id
// and envoy-state.json (with KeepEnvoy).
package proxy
