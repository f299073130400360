package proxy

import (
	"math"
	"time"

	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	injectedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/injected_resource/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	heapMonitor        = "envoy.resource_monitors.fixed_heap"
	connectionsMonitor = "envoy.resource_monitors.global_downstream_max_connections"
	// drainMonitor reads its pressure from a file.
	drainMonitor = "envoy.resource_monitors.injected_resource"
	// overloadRefresh is how often the monitors are read.
	overloadRefresh = 250 * time.Millisecond
	// idleShortest is how long a connection may be idle at least, however high
	// the pressure.
	idleShortest = time.Second
)

// overloadManager sheds load step by step as the heap fills: first idle
// connections and the streams that hold most, then keep-alive, then new
// requests, then new connections. Connections over the limit are closed on
// accept.
//
// A draining proxy is a third kind of pressure, because the timers of idle
// connections are the only way to have Envoy tell their clients to leave: all
// others wait for the next answer. When they end, HTTP/2 gets a GOAWAY, and a
// connection on which nothing was ever said is closed.
func overloadManager(in BootstrapInput) *overloadv3.OverloadManager {
	s := in.Settings
	m := &overloadv3.OverloadManager{
		RefreshInterval: durationpb.New(overloadRefresh),
		ResourceMonitors: []*overloadv3.ResourceMonitor{{
			Name:       drainMonitor,
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: pack(&injectedv3.InjectedResourceConfig{Filename: in.DrainFile})},
		}},
	}
	idle := []*overloadv3.Trigger{at(drainMonitor, 1)}
	if s.MaxConnections > 0 {
		m.ResourceMonitors = append(m.ResourceMonitors, &overloadv3.ResourceMonitor{
			Name: connectionsMonitor,
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: pack(&connectionsv3.DownstreamConnectionsConfig{
				MaxActiveDownstreamConnections: int64(s.MaxConnections),
			})},
		})
	}
	if s.MaxHeapBytes > 0 {
		m.ResourceMonitors = append(m.ResourceMonitors, &overloadv3.ResourceMonitor{
			Name:       heapMonitor,
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: pack(&heapv3.FixedHeapConfig{MaxHeapSizeBytes: s.MaxHeapBytes})},
		})
		idle = append(idle, between(0.85, 0.95))
		m.Actions = heapActions()
		m.LoadshedPoints = []*overloadv3.LoadShedPoint{{
			Name:     "envoy.load_shed_points.tcp_listener_accept",
			Triggers: []*overloadv3.Trigger{at(heapMonitor, 0.98)},
		}}
		// Streams are accounted from 1 MiB on: 2^20.
		m.BufferFactoryConfig = &overloadv3.BufferFactoryConfig{MinimumAccountToTrackPowerOfTwo: 20}
	}
	m.Actions = append(m.Actions, reduceTimeouts(idle))
	return m
}

// reduceTimeouts ends what is idle sooner.
func reduceTimeouts(triggers []*overloadv3.Trigger) *overloadv3.OverloadAction {
	return &overloadv3.OverloadAction{
		Name: "envoy.overload_actions.reduce_timeouts", Triggers: triggers,
		TypedConfig: pack(&overloadv3.ScaleTimersOverloadActionConfig{
			TimerScaleFactors: []*overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer{
				shortest(overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_CONNECTION_IDLE, idleShortest),
				shortest(overloadv3.ScaleTimersOverloadActionConfig_TRANSPORT_SOCKET_CONNECT, 2*time.Second),
			},
		}),
	}
}

// heapActions is the rest of the ladder, by the fraction of the heap in use.
func heapActions() []*overloadv3.OverloadAction {
	return []*overloadv3.OverloadAction{
		{Name: "envoy.overload_actions.reset_high_memory_stream", Triggers: []*overloadv3.Trigger{between(0.85, 0.95)}},
		{Name: "envoy.overload_actions.disable_http_keepalive", Triggers: []*overloadv3.Trigger{at(heapMonitor, 0.92)}},
		{Name: "envoy.overload_actions.shrink_heap", Triggers: []*overloadv3.Trigger{at(heapMonitor, 0.95)}},
		{Name: "envoy.overload_actions.stop_accepting_requests", Triggers: []*overloadv3.Trigger{at(heapMonitor, 0.95)}},
		{Name: "envoy.overload_actions.reject_incoming_connections", Triggers: []*overloadv3.Trigger{at(heapMonitor, 0.98)}},
	}
}

// shortest is a timer that shrinks to d when its action is saturated.
func shortest(timer overloadv3.ScaleTimersOverloadActionConfig_TimerType, d time.Duration) *overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer {
	return &overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer{
		Timer:          timer,
		OverloadAdjust: &overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer_MinTimeout{MinTimeout: durationpb.New(d)},
	}
}

// at triggers from a pressure on.
func at(monitor string, fraction float64) *overloadv3.Trigger {
	return &overloadv3.Trigger{Name: monitor, TriggerOneof: &overloadv3.Trigger_Threshold{
		Threshold: &overloadv3.ThresholdTrigger{Value: fraction},
	}}
}

// between triggers gradually from one fraction of the heap to another.
func between(from, to float64) *overloadv3.Trigger {
	return &overloadv3.Trigger{Name: heapMonitor, TriggerOneof: &overloadv3.Trigger_Scaled{
		Scaled: &overloadv3.ScaledTrigger{ScalingThreshold: from, SaturationThreshold: to},
	}}
}

// seconds rounds up to whole seconds, at least one: Envoy's flags know no less.
func seconds(d time.Duration) int {
	return max(1, int(math.Ceil(d.Seconds())))
}
