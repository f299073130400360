package compile

import (
	"bytes"
	"fmt"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/tls"
)

// credentialKey names a Secret object.
type credentialKey struct{ namespace, name string }

func (k credentialKey) credential() model.Credential {
	return model.Credential{Namespace: k.namespace, Name: k.name}
}

// secretKey names one SDS secret made of a Secret object: its key pair, or the
// authorities that it trusts.
type secretKey struct {
	credentialKey
	ca bool
}

// credential is what a Secret object holds, encoded for SDS; what is absent is
// nil, and why is in the faults.
type credential struct {
	object         model.Ref // zero when there is no such Secret
	pair, ca       []byte
	pairWhy, caWhy string
}

func (c credential) equal(o credential) bool {
	return c.object == o.object && bytes.Equal(c.pair, o.pair) && bytes.Equal(c.ca, o.ca) && c.pairWhy == o.pairWhy && c.caWhy == o.caWhy
}

func (rs *rules) readCredential(rd *reader, key credentialKey) (c credential) {
	ref := model.Ref{Kind: "Secret", Namespace: key.namespace, Name: key.name}
	o, ok := rs.objects.read(rd, ref).(*model.Opaque)
	if !ok {
		why := fmt.Sprintf("there is no Secret %s/%s; create it or correct the name", key.namespace, key.name)
		return credential{pairWhy: why, caWhy: why}
	}
	c.object = ref
	if s, err := tls.KeyPair(model.SecretName(key.credential(), false), o.Content); err != nil {
		c.pairWhy = err.Error()
	} else if c.pair, err = encode(s); err != nil {
		c.pairWhy = err.Error()
	}
	if s, err := tls.Authority(model.SecretName(key.credential(), true), o.Content); err != nil {
		c.caWhy = err.Error()
	} else if c.ca, err = encode(s); err != nil {
		c.caWhy = err.Error()
	}
	return c
}

// buildSecret makes the SDS secret that a cluster asks for.
func (rs *rules) buildSecret(rd *reader, key secretKey) resources {
	c := rs.credential.read(rd, key.credentialKey)
	b := c.pair
	if key.ca {
		b = c.ca
	}
	if b == nil {
		return resources{} // reported where it is missed
	}
	name := model.ResourceName{Type: model.TypeSecret, Name: model.SecretName(key.credential(), key.ca)}
	return resources{list: []*model.Resource{newResource(part{name: name, owners: []model.Ref{c.object}}, b)}}
}

// missingCredential says why the TLS of a policy cannot be set up; "" if it
// can.
func (rs *rules) missingCredential(rd *reader, t *model.UpstreamTLS, namespace string) string {
	if t == nil || t.Credential == "" {
		return ""
	}
	c := rs.credential.read(rd, credentialKey{namespace, t.Credential})
	switch {
	case t.Mode == model.TLSMutual && c.pair == nil:
		return c.pairWhy
	case t.Mode == model.TLSSimple && c.ca == nil && !t.InsecureSkipVerify:
		return c.caWhy
	}
	return ""
}
