import { expect, test } from 'vitest'
import { selectorText } from '../../kubernetes/hooks.ts'

test.each([
  [{ matchLabels: { app: 'web', tier: 'front' } }, 'app=web,tier=front'],
  [
    {
      matchLabels: { app: 'web' },
      matchExpressions: [
        { key: 'tier', operator: 'In', values: ['a', 'b'] },
        { key: 'zone', operator: 'NotIn', values: ['c'] },
        { key: 'new', operator: 'Exists' },
        { key: 'old', operator: 'DoesNotExist' },
      ],
    },
    'app=web,tier in (a,b),zone notin (c),new,!old',
  ],
])('%j selects by %s', (selector, text) => expect(selectorText(selector)).toBe(text))
