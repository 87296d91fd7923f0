// Package bootstrap reads the file that tells a process who it is and where its
// control plane is: the xDS bootstrap of gRPC (gRFC A27), so that one file serves
// Weft and gRPC of every language in the same place.
//
// [Parse], [FromFile] and [FromEnv] give a [Config]; its methods answer what the
// file decides: [Config.Client] how to reach the control plane,
// [Config.ClientListener] and [Config.ServerListener] which Listener a name stands
// for, [Config.RouteConfig] which RouteConfiguration in sidecar mode.
//
// # Fields
//
// As in gRPC: node, xds_servers, authorities,
// client_default_listener_resource_name_template,
// server_listener_resource_name_template, certificate_providers and
// allowed_grpc_services (gRFC A102), with channel credentials "insecure" and "tls" (gRFC A65), call credentials "jwt_token_file"
// (gRFC A97), and the server features of gRFCs A81 and A88. Fields that are not
// known are ignored, as A27 wants it.
//
// Weft's own are in the object "weft", where what is not known is an error:
//
//	"weft": {
//	  "ads": "delta",                        // or "sotw"; absent tries delta first
//	  "route_config_name_template": "%p",    // sidecar mode
//	  "local_cluster": "web"                 // for zone-aware balancing: whose endpoint the process is
//	}
//
// # Sidecar mode
//
// A control plane that thinks it talks to an Envoy beside the application has no
// Listener by the name of a service. It has listeners that catch all traffic to a
// port, and a RouteConfiguration named for the port ("8080" at Istio) in which a
// virtual host is found by the Host of a request. With route_config_name_template
// a target host:port finds its routes there, without a Listener: %p in the
// template stands for the port and %h for the host.
package bootstrap
