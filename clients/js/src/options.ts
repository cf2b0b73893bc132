/** How a client is made. */

/** A token or an API key, or a function that gives one; it is asked again after a `401`. */
export type Token = string | (() => string | Promise<string>);

export interface Options {
  /** The address of the API, such as `https://chat.example`. */
  url: string;
  token: Token;
  /** The user whom an API key acts for. */
  onBehalfOf?: string;
  /** How often a call is sent at most; 8 if left out. */
  attempts?: number;
  /** How long an answer may take; 30,000 ms if left out. */
  timeoutMs?: number;
}
