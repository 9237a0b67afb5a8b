import { readFile } from 'node:fs/promises';
import { stringify } from 'yaml';

/** The part of a JSON schema that the reference is made of. */
export interface SchemaNode {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly pattern?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly items?: SchemaNode;
  readonly additionalProperties?: SchemaNode | boolean;
  readonly oneOf?: readonly SchemaNode[];
  readonly anyOf?: readonly SchemaNode[];
}

const MARK = '<!-- keys -->';
const HEAD = '| key | type | default | meaning | example |\n|---|---|---|---|---|\n';

const code = (text: string): string => `\`${text.replaceAll('|', '\\|')}\``;

/** A value as one would write it in a plan, on one line. */
const written = (value: unknown): string =>
  code(stringify(value, { collectionStyle: 'flow', flowCollectionPadding: false, lineWidth: 0 }).trim());

const typeOf = (node: SchemaNode): string => {
  if (node.const !== undefined) return written(node.const);
  if (node.enum !== undefined) return node.enum.map(written).join(' or ');
  if (node.anyOf !== undefined) return node.anyOf.map(typeOf).join(' or ');
  if (node.type === 'array') return node.items?.properties === undefined ? 'list of text' : 'list';
  if (node.type === 'object') return 'mapping';
  if (node.type === 'integer') return 'number';
  if (node.pattern?.includes('ms|s|m|h|d')) return 'duration';
  if (node.pattern?.includes('kB|MB|GB')) return 'rate';
  return node.pattern === undefined ? 'text' : 'name';
};

const defaultOf = (node: SchemaNode, required: boolean): string => {
  if (required) return 'required';
  const isEmpty = typeof node.default === 'object' && JSON.stringify(node.default) === '{}';
  return node.default === undefined || isEmpty ? '' : written(node.default);
};

/** The rows of a node and of everything in it, in the order of the schema. */
const rows = (path: string, node: SchemaNode, required: boolean): readonly string[] => {
  const cells = [
    code(path),
    typeOf(node),
    defaultOf(node, required),
    (node.description ?? '').replaceAll('|', '\\|'),
    node.examples === undefined ? '' : written(node.examples[0]),
  ];
  return [`| ${cells.join(' | ')} |`, ...inside(path, node)];
};

const inside = (path: string, node: SchemaNode): readonly string[] => {
  const map = typeof node.additionalProperties === 'object' ? node.additionalProperties : undefined;
  if (map !== undefined) return (map.oneOf ?? [map]).flatMap((one) => inside(`${path}.NAME`, one));
  if (node.items?.properties !== undefined) return inside(`${path}[]`, node.items);
  const keys = node.properties ?? node.anyOf?.find(({ properties }) => properties !== undefined)?.properties;
  return Object.entries(keys ?? {}).flatMap(([key, child]) =>
    rows(path === '' ? key : `${path}.${key}`, child, node.required?.includes(key) ?? false),
  );
};

/** `docs/plan.md`: the template with a table of all keys of the schema in its place. Throws when the place is missing. */
export const planReference = async (schema: SchemaNode): Promise<string> => {
  const template = await readFile(new URL('plan.template.md', import.meta.url), 'utf8');
  if (!template.includes(MARK)) throw new Error(`plan.template.md has no ${MARK}`);
  return template.replace(MARK, () => HEAD + inside('', schema).join('\n'));
};
