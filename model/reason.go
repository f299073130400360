package model

// The reasons of problems. They are part of the API: scripts match on them.
const (
	ReasonUnknownField       Reason = "UnknownField"       // the API has no such field
	ReasonUnknownKind        Reason = "UnknownKind"        // Sluice does not read this kind
	ReasonUnsupportedVersion Reason = "UnsupportedVersion" // the kind is known, its apiVersion is not
	ReasonWrongType          Reason = "WrongType"          // the value does not fit the field
	ReasonInvalidValue       Reason = "InvalidValue"       // right type, value out of range or malformed
	ReasonInvalidRegex       Reason = "InvalidRegex"       // not RE2, too long or too large
	ReasonMissingField       Reason = "MissingField"       // a required field is absent
	ReasonNotYetSupported    Reason = "NotYetSupported"    // a field of the API that Sluice does not serve yet
	ReasonUnreadableFile     Reason = "UnreadableFile"     // the file cannot be opened or is too large
	ReasonInvalidSyntax      Reason = "InvalidSyntax"      // not YAML or JSON
	ReasonDuplicateObject    Reason = "DuplicateObject"    // another file defines the same object
	ReasonHostConflict       Reason = "HostConflict"       // an older server has this host on this port
	ReasonPortConflict       Reason = "PortConflict"       // an older server holds the port with another protocol
	ReasonGatewayNotFound    Reason = "GatewayNotFound"    // a route set names a gateway that does not exist
	ReasonHostNotInGateway   Reason = "HostNotInGateway"   // no server of its gateways has the host
	ReasonDestinationMissing Reason = "DestinationMissing" // no service has this host
	ReasonPortMissing        Reason = "PortMissing"        // the service lacks the port, or the port is ambiguous
	ReasonSubsetMissing      Reason = "SubsetMissing"      // no destination rule defines the subset
	ReasonCredentialMissing  Reason = "CredentialMissing"  // no Secret has this name
	ReasonCredentialInvalid  Reason = "CredentialInvalid"  // the Secret does not hold what is needed
	ReasonCertificateExpired Reason = "CertificateExpired" // the certificate is past its last day
	ReasonCertificateNotYet  Reason = "CertificateNotYet"  // the certificate's first day is to come
	ReasonCertificatePending Reason = "CertificatePending" // the authority has not signed it yet
	ReasonDelegateMissing    Reason = "DelegateMissing"    // no route set has this name, or it is not visible
	ReasonDelegateConflict   Reason = "DelegateConflict"   // a delegated match contradicts the rule that delegates
	ReasonNotVisible         Reason = "NotVisible"         // exportTo of the other object leaves this one out
	ReasonWaitingForMesh     Reason = "WaitingForMesh"     // for sidecars, which do not exist yet
	ReasonExtension          Reason = "Extension"          // Sluice goes beyond the API here
	ReasonUnreachableRule    Reason = "UnreachableRule"    // a rule before it takes every request
	ReasonNotAttached        Reason = "NotAttached"        // nothing serves the object
	ReasonIgnoredDuplicate   Reason = "IgnoredDuplicate"   // an older object already says this
	ReasonRejectedByEnvoy    Reason = "RejectedByEnvoy"    // Envoy refused the resource
	ReasonInternal           Reason = "Internal"           // a fault of Sluice itself
	ReasonBindFailed         Reason = "BindFailed"         // Envoy cannot take the address
)
