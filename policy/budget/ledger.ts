// The account of one budget, workload and period at the operator: what each proxy was allotted, gave back and spent. Pure.
//
// A proxy spends only what it was allotted, so what all of them hold and have spent never passes the limit. Every number counts
// up from the proxy's start and never back: an answer that was lost, a call that came twice or late change nothing.

export interface Holding {
  readonly granted: number;
  readonly returned: number;
  readonly spent: number;
}

export interface Account {
  /** Of proxies that ended: what they spent, or all they had where nobody knows. */
  readonly settled: number;
  /** By holder: one start of one proxy. */
  readonly holdings: Readonly<Record<string, Holding>>;
}

export const emptyAccount: Account = { settled: 0, holdings: {} };

/** What one call allots beyond its need, as a part of the limit: a call for each request would be slow, large parts would lie idle with one pod. */
const sliceShare = 16;

/** Proxies of one workload in one period, since the account stands in one row; beyond it the eldest counts as lost. */
export const maxHoldings = 2_000;

const nothing: Holding = { granted: 0, returned: 0, spent: 0 };

/** What it counts for: all it holds and has spent, or more where an answer was longer than was thought. */
function committedOf({ granted, returned, spent }: Holding): number {
  return Math.max(granted - returned, spent);
}

/** Of the limit: spent, or allotted and not given back. */
export function committed({ settled, holdings }: Account): number {
  return Object.values(holdings).reduce((sum, one) => sum + committedOf(one), settled);
}

/** Known to be spent; what ended proxies held counts, too. */
export function spentOf({ settled, holdings }: Account): number {
  return Object.values(holdings).reduce((sum, one) => sum + one.spent, settled);
}

/** What a proxy says it gave back and spent. */
export function report(
  account: Account,
  holder: string,
  { returned, spent }: Pick<Holding, "returned" | "spent">,
): Account {
  const before = account.holdings[holder] ?? nothing;
  return withHolding(account, holder, {
    // Nothing is given back that was not held; a row that was lost is believed.
    granted: Math.max(before.granted, returned),
    returned: Math.max(before.returned, returned),
    spent: Math.max(before.spent, spent),
  });
}

export interface Want {
  /** What the proxy has given back, spent and reserved already. */
  readonly base: number;
  /** Less than this is of no use. */
  readonly need: number;
  /** As much would be good; at least `need`. */
  readonly wish: number;
}

export interface Grant {
  readonly account: Account;
  /** All that this holder was ever allotted in the period; unchanged where the need cannot be met. */
  readonly granted: number;
  /** Of the limit, allotted to nobody. */
  readonly left: number;
}

export function allot(
  account: Account,
  holder: string,
  limit: number,
  { base, need, wish }: Want,
): Grant {
  const before = account.holdings[holder] ?? nothing;
  const own = committedOf(before);
  const free = limit - committed(account);
  const most = before.returned + own + Math.max(0, free);
  if (base + need > most) return { account, granted: before.granted, left: Math.max(0, free) };
  const good = base + Math.max(need, wish, Math.ceil(limit / sliceShare));
  const granted = Math.max(before.granted, Math.min(most, good));
  const after = withHolding(account, holder, { ...before, granted });
  return { account: after, granted, left: Math.max(0, limit - committed(after)) };
}

/** The proxy ended in good order: what it did not spend is free again. */
export function close(account: Account, holder: string): Account {
  return fold(account, holder, ({ spent }) => spent);
}

/** The proxy is gone and said nothing: whatever it held counts as spent. */
export function forfeit(account: Account, holder: string): Account {
  return fold(account, holder, committedOf);
}

function fold(account: Account, holder: string, counts: (holding: Holding) => number): Account {
  const { [holder]: gone, ...holdings } = account.holdings;
  if (gone === undefined) return account;
  return { settled: account.settled + counts(gone), holdings };
}

function withHolding(account: Account, holder: string, holding: Holding): Account {
  const names = Object.keys(account.holdings);
  const eldest = holder in account.holdings || names.length < maxHoldings ? undefined : names[0];
  const { settled, holdings } = eldest === undefined ? account : forfeit(account, eldest);
  return { settled, holdings: { ...holdings, [holder]: holding } };
}
