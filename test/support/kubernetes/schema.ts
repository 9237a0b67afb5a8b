import * as k8s from '@kubernetes/client-node';
import { isJson } from './json.ts';

interface Attribute {
  readonly baseName: string;
  readonly type: string;
  readonly format: string;
}

const MODELS: Readonly<Record<string, unknown>> = { ...k8s };

const attributesOf = (type: string): readonly Attribute[] | null => {
  const model = MODELS[type];
  const hasMap = typeof model === 'function' && 'getAttributeTypeMap' in model;
  if (!hasMap || typeof model.getAttributeTypeMap !== 'function') return null;
  return model.getAttributeTypeMap() as readonly Attribute[];
};

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

const isPrimitive = (value: unknown, { type, format }: Pick<Attribute, 'type' | 'format'>): boolean | null => {
  switch (type) {
    case 'string':
      return typeof value === 'string' && (format !== 'byte' || BASE64.test(value));
    case 'number':
      return typeof value === 'number' && (!format.startsWith('int') || Number.isInteger(value));
    case 'boolean':
      return typeof value === 'boolean';
    case 'Date':
    case 'V1MicroTime':
      return typeof value === 'string' && !Number.isNaN(Date.parse(value));
    case 'IntOrString':
      return typeof value === 'string' || Number.isInteger(value);
    case 'any':
    case 'object':
      return true;
    default:
      return null;
  }
};

/**
 * What is wrong in an object by the attribute maps of the client library's generated models, which come from the API
 * server's OpenAPI document: unknown fields and wrong types. The maps do not say which fields are required.
 */
export const schemaProblems = (
  value: unknown,
  attribute: Pick<Attribute, 'type' | 'format'>,
  path = '',
): readonly string[] => {
  const { type, format } = attribute;
  const primitive = isPrimitive(value, attribute);
  if (primitive !== null) return primitive ? [] : [`${path}: ${JSON.stringify(value)} is no ${type} ${format}`];
  const list = /^Array<(.+)>$/.exec(type)?.[1];
  if (list !== undefined) {
    if (!Array.isArray(value)) return [`${path} is no list`];
    return value.flatMap((item, index) => schemaProblems(item, { type: list, format }, `${path}[${index}]`));
  }
  if (!isJson(value)) return [`${path} is no object`];
  const map = /^\{ \[key: string\]: (.+); \}$/.exec(type)?.[1];
  if (map !== undefined) {
    return Object.entries(value).flatMap(([key, item]) =>
      schemaProblems(item, { type: map, format }, `${path}.${key}`),
    );
  }
  const attributes = attributesOf(type);
  if (attributes === null) throw new Error(`the client library has no model ${type}`);
  return Object.entries(value).flatMap(([key, item]) => {
    const known = attributes.find(({ baseName }) => baseName === key);
    return known === undefined ? [`unknown field "${path}.${key}"`] : schemaProblems(item, known, `${path}.${key}`);
  });
};
