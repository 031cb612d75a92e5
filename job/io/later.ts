type Functions<Name extends string> = Record<Name, (...args: never[]) => Promise<unknown>>

/** Functions of a module that is loaded with the first call of one of them: a start does not wait for what it does not use. */
export function later<Name extends string, Module extends Functions<Name>>(
  load: () => Promise<Module>,
  ...names: Name[]
): Pick<Module, Name> {
  const functions = names.map((name) => [name, async (...args: never[]) => (await load())[name](...args)])
  return Object.fromEntries(functions) as Pick<Module, Name>
}
