package crd

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// A Validator says what an API server with the definitions would say of an object.
type Validator struct {
	kinds map[schema.GroupVersionKind]kind
}

type kind struct {
	schema *structural.Structural
	fields validation.SchemaValidator
	rules  *cel.Validator
}

// NewValidator reads definitions.
func NewValidator(definitions []*apiextensionsv1.CustomResourceDefinition) (*Validator, error) {
	v := &Validator{make(map[schema.GroupVersionKind]kind)}
	for _, d := range definitions {
		for _, version := range d.Spec.Versions {
			id := schema.GroupVersionKind{Group: d.Spec.Group, Version: version.Name, Kind: d.Spec.Names.Kind}
			var props apiextensions.JSONSchemaProps
			if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, &props, nil); err != nil {
				return nil, fmt.Errorf("%v: %w", id, err)
			}
			s, err := structural.NewStructural(&props)
			if err != nil {
				return nil, fmt.Errorf("%v: %w", id, err)
			}
			fields, _, err := validation.NewSchemaValidator(&props)
			if err != nil {
				return nil, fmt.Errorf("%v: %w", id, err)
			}
			v.kinds[id] = kind{s, fields, cel.NewValidator(s, true, celconfig.PerCallLimit)}
		}
	}
	return v, nil
}

// Knows says whether id is defined here.
func (v *Validator) Knows(id schema.GroupVersionKind) bool {
	_, found := v.kinds[id]
	return found
}

// Validate returns what is wrong with an object, whose whole numbers must be int64, and changes it: defaults are filled in, and
// unknown fields are gone.
func (v *Validator) Validate(ctx context.Context, id schema.GroupVersionKind, object map[string]any) error {
	k, found := v.kinds[id]
	if !found {
		return fmt.Errorf("%v is not defined", id)
	}
	var all []error
	for _, path := range pruning.PruneWithOptions(object, k.schema, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		all = append(all, fmt.Errorf("unknown field %s", path))
	}
	defaulting.Default(object, k.schema)
	for _, wrong := range validation.ValidateCustomResource(field.NewPath("").Root(), object, k.fields) {
		all = append(all, wrong)
	}
	wrong, _ := k.rules.Validate(ctx, field.NewPath("").Root(), k.schema, object, nil, celconfig.RuntimeCELCostBudget)
	for _, w := range wrong {
		all = append(all, w)
	}
	return errors.Join(all...)
}
