// One linter. What prettier formats is not its concern; what TypeScript checks it does not repeat.
import tseslint from 'typescript-eslint'

const PURE = 'The protocol is pure: bytes and a time in; bytes, events and one deadline out.'

export default tseslint.config(
  {
    ignores: ['**/dist/**', '**/.turbo/**', '**/node_modules/**', 'apps/docs/.vitepress/{cache,dist}/**', 'vectors/**'],
  },
  {
    files: ['packages/*/src/**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // Numbers in messages are what the messages are for.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // `throw signal.reason` and its like pass on what an application chose.
      '@typescript-eslint/only-throw-error': 'off',
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    },
  },
  {
    files: ['packages/core/src/protocol/**/*.ts'],
    rules: {
      'no-restricted-globals': [
        'error',
        ...['Date', 'Promise', 'Buffer', 'process', 'console', 'performance', 'crypto', 'queueMicrotask'].map(
          (name) => ({ name, message: PURE }),
        ),
        ...['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout'].map((name) => ({ name, message: PURE })),
      ],
      'no-restricted-properties': ['error', { object: 'Math', property: 'random', message: PURE }],
      'no-restricted-syntax': [
        'error',
        {
          selector: ':matches(FunctionDeclaration, FunctionExpression, ArrowFunctionExpression)[async=true]',
          message: PURE,
        },
        { selector: 'AwaitExpression', message: PURE },
      ],
      'no-restricted-imports': ['error', { patterns: [{ group: ['node:*', '../*', '#*', '@*'], message: PURE }] }],
    },
  },
  {
    files: ['**/*.mjs', '**/*.ts'],
    ignores: ['packages/*/src/**'],
    extends: [tseslint.configs.recommended],
    rules: { '@typescript-eslint/no-empty-function': 'off' },
  },
)
