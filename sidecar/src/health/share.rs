//! From what is known of the members to the share that each has: the panic threshold. Pure.

use super::settings::Panic;
use super::state::WHOLE;

/// One member, as far as the group must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The quarters of its share that its own checks leave it.
    pub quarters: u8,
    /// It is to take new connections at all: one that drains is no help to the others.
    pub counts: bool,
}

/// The quarters that each member has, and whether the group is in panic: all have everything then.
///
/// A group of which nobody is to take new connections has nothing to panic about.
pub fn shares(members: &[Member], panic: Panic) -> (Vec<u8>, bool) {
    let counted = members.iter().filter(|one| one.counts);
    let all = counted.clone().count();
    let up = counted.filter(|one| one.quarters > 0).count();
    let is_panic = match panic {
        Panic::Never => false,
        Panic::Below(percent) => all > 0 && (up == 0 || up * 100 < all * usize::from(percent)),
    };
    let share = |one: &Member| if is_panic { WHOLE } else { one.quarters };
    (members.iter().map(share).collect(), is_panic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(quarters: &[u8]) -> Vec<Member> {
        let member = |&quarters| Member {
            quarters,
            counts: true,
        };
        quarters.iter().map(member).collect()
    }

    #[test]
    fn the_panic_threshold() {
        use Panic::{Below, Never};

        for (quarters, panic, is_panic) in [
            (&[4, 4, 0, 0][..], Below(50), false),
            (&[4, 0, 0, 0], Below(50), true),
            // Who is growing is up.
            (&[4, 1, 0, 0], Below(50), false),
            (&[4, 0, 0, 0], Below(0), false),
            (&[0, 0, 0, 0], Below(0), true),
            (&[0], Below(100), true),
            (&[4], Below(100), false),
            (&[4, 0], Below(100), true),
            (&[0, 0], Never, false),
            (&[], Below(100), false),
        ] {
            let (shares, said) = shares(&group(quarters), panic);
            assert_eq!(said, is_panic, "{quarters:?} {panic:?}");
            if is_panic {
                assert!(shares.iter().all(|&one| one == WHOLE), "{shares:?}");
            } else {
                assert_eq!(shares, quarters);
            }
        }
    }

    #[test]
    fn who_drains_is_not_counted() {
        let mut members = group(&[4, 0, 4, 4]);
        (members[2].counts, members[3].counts) = (false, false);
        assert!(!shares(&members, Panic::Below(50)).1, "one of two is up");
        members[0].quarters = 0;
        assert!(shares(&members, Panic::Below(0)).1, "none of two is up");
        for member in &mut members {
            member.counts = false;
        }
        assert_eq!(
            shares(&members, Panic::Below(100)),
            (vec![0, 0, 4, 4], false)
        );
    }
}
