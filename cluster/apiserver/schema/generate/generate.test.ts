// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { emitSchema } from './emit-schema.ts';
import { emitTypeScript } from './emit-typescript.ts';
import { parseGoPackage } from './go-types.ts';

const SOURCE = `package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Colour is a choice.
// +enum
type Colour string

const (
	ColourRed  Colour = "Red"
	ColourBlue Colour = "Blue"
)

// Size is how big
// something is.
type Size struct {
	// +optional
	Limit *resource.Quantity \`json:"limit,omitempty" protobuf:"bytes,2,opt,name=limit"\`
}

// Thing is an example.
type Thing struct {
	Size \`json:",inline" protobuf:"bytes,1,opt,name=size"\`
	// Names of it.
	// +listType=map
	// +listMapKey=name
	// +patchMergeKey=name
	// +patchStrategy=merge
	Parts []Part \`json:"parts" patchStrategy:"merge" patchMergeKey:"name" protobuf:"bytes,3,rep,name=parts"\`
	// +default=ref(ColourRed)
	Colour Colour \`json:"colour,omitempty" protobuf:"bytes,4,opt,name=colour"\`
	Since metav1.Time \`json:"since,omitempty" protobuf:"bytes,5,opt,name=since"\`
	hidden map[string]bool \`json:"-"\`
}

type Part struct {
	Name string \`json:"name"\`
}
`;

describe('generator', () => {
  const pkg = parseGoPackage('k8s.io/api/example/v1', [SOURCE]);

  it('turns Go types into schema data, the same every time', () => {
    const { types, docs } = emitSchema([pkg], ['example.k8s.io']);
    expect(JSON.parse(types)).to.deep.equal({
      'io.k8s.api.example.v1': {
        group: 'example.k8s.io',
        version: 'v1',
        types: {
          Colour: { alias: 'string', enum: ['Blue', 'Red'] },
          Size: { fields: [['limit', 'quantity', 'op', 2]] },
          Thing: {
            fields: [
              ['parts', '[]Part', 'r', 3, { list: 'map', keys: ['name'], mergeKey: 'name', strategy: 'merge' }],
              ['colour', 'Colour', 'o', 4, { default: 'Red' }],
              ['since', 'time', 'o', 5],
            ],
            inline: [['Size', 1]],
          },
          Part: { fields: [['name', 'string', 'r', 0]] },
        },
      },
    });
    expect((JSON.parse(docs) as Record<string, unknown>)['io.k8s.api.example.v1.Size']).to.deep.equal([
      'Size is how big something is.',
      {},
    ]);
    expect(emitSchema([pkg], ['example.k8s.io'])).to.deep.equal({ types, docs });
  });

  it('turns them into TypeScript', () => {
    const text = emitTypeScript([pkg]);
    expect(text).to.include("export type Colour = 'Red' | 'Blue';");
    expect(text).to.include(
      'export interface Thing extends Size {\n  parts: Part[];\n  colour?: Colour;\n  since?: string;\n}',
    );
  });
});
