-- A text of nothing but marks is folded piece by piece: putting the marks of one letter into order
-- takes as long as the square of how many there are. What is made of other texts is as before.
ALTER TABLE messages MODIFY COLUMN words Array(String) MATERIALIZED
    if(length(content) = lengthUTF8(content),
        arrayDistinct(extractAll(lower(content), '[a-z0-9]+')),
        arrayDistinct(arrayConcat(
            extractAll(replaceRegexpAll(if(
                arrayExists(run -> length(run) > 300, extractAll(lowerUTF8(caseFoldUTF8(replaceRegexpAll(if(
                    arrayExists(run -> length(run) > 300, extractAll(content, '[\\pM\\x{ff9e}\\x{ff9f}]+')),
                    arrayStringConcat(arrayMap(
                        piece -> normalizeUTF8NFKD(piece), extractAll(content, '(?s).{1,100}'))),
                    normalizeUTF8NFKD(content)), '[\\x{ad}\\x{300}-\\x{36f}\\x{483}-\\x{489}\\x{591}-\\x{5bd}\\x{5bf}\\x{5c1}-\\x{5c2}\\x{5c4}-\\x{5c5}\\x{5c7}\\x{610}-\\x{61a}\\x{61c}\\x{640}\\x{64b}-\\x{65f}\\x{670}\\x{6d6}-\\x{6dc}\\x{6df}-\\x{6e4}\\x{6e7}-\\x{6e8}\\x{6ea}-\\x{6ed}\\x{711}\\x{730}-\\x{74a}\\x{180b}-\\x{180f}\\x{1ab0}-\\x{1aff}\\x{1dc0}-\\x{1dff}\\x{200b}-\\x{200f}\\x{202a}-\\x{202e}\\x{2060}-\\x{206f}\\x{20d0}-\\x{20ff}\\x{fe00}-\\x{fe0f}\\x{fe20}-\\x{fe2f}\\x{feff}\\x{1f3fb}-\\x{1f3ff}\\x{e0000}-\\x{e01ef}]', ''))) AS small, '\\pM+')),
                arrayStringConcat(arrayMap(
                    piece -> normalizeUTF8NFKD(piece), extractAll(small, '(?s).{1,100}'))),
                normalizeUTF8NFKD(small)), '[\\x{ad}\\x{300}-\\x{36f}\\x{483}-\\x{489}\\x{591}-\\x{5bd}\\x{5bf}\\x{5c1}-\\x{5c2}\\x{5c4}-\\x{5c5}\\x{5c7}\\x{610}-\\x{61a}\\x{61c}\\x{640}\\x{64b}-\\x{65f}\\x{670}\\x{6d6}-\\x{6dc}\\x{6df}-\\x{6e4}\\x{6e7}-\\x{6e8}\\x{6ea}-\\x{6ed}\\x{711}\\x{730}-\\x{74a}\\x{180b}-\\x{180f}\\x{1ab0}-\\x{1aff}\\x{1dc0}-\\x{1dff}\\x{200b}-\\x{200f}\\x{202a}-\\x{202e}\\x{2060}-\\x{206f}\\x{20d0}-\\x{20ff}\\x{fe00}-\\x{fe0f}\\x{fe20}-\\x{fe2f}\\x{feff}\\x{1f3fb}-\\x{1f3ff}\\x{e0000}-\\x{e01ef}]', '') AS folded, '[a-z0-9]+'),
            extractAll(folded, '[^\\x00-\\x7f]'),
            arrayFlatten(arrayMap(run -> ngrams(run, 2), extractAll(folded, '[^\\x00-\\x7f]{2,}')))))) CODEC(ZSTD(1))
